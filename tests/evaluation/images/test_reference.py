"""Reference features in a cache: made once, found again, made again when damaged; and all measures by name."""

import logging

import numpy as np
import pytest

from genjax.errors import ConfigError, DataError
from genjax.evaluation.images.collection import collect
from genjax.evaluation.images.frechet import frechet_distance
from genjax.evaluation.images.measures import MeasureConfig, measure
from genjax.evaluation.images.reference import META, TENSORS, cached_reference
from genjax.evaluation.images.statistics import statistics
from tests.evaluation.images.networks import pictures, plain_network


class Maker:
    """Counts how often it is asked."""

    def __init__(self, spatial=True, network="means"):
        found = collect(plain_network(), [pictures(30)])
        values = statistics(np.random.default_rng(0).normal(size=(30, 5))) if spatial else None
        self.made = type(found)(network, found.pool, values, found.features, found.logits if spatial else None)
        self.made.radii((2, 3))
        self.calls = 0

    def __call__(self):
        self.calls += 1
        return self.made


def assert_equal(one, other):
    assert (one.network, one.count) == (other.network, other.count)
    np.testing.assert_array_equal(one.features, other.features)
    for a, b in ((one.pool, other.pool), (one.spatial, other.spatial)):
        assert (a is None) == (b is None)
        if a is not None:
            np.testing.assert_array_equal(a.mean, b.mean)
            np.testing.assert_array_equal(a.scatter, b.scatter)
    assert set(one.known) == set(other.known) and all(np.array_equal(one.known[k], other.known[k]) for k in one.known)
    assert (one.logits is None) == (other.logits is None)
    assert one.logits is None or (one.logits == other.logits).all()


@pytest.mark.parametrize("spatial", [True, False])
def test_found_again_with_the_same_bits(tmp_path, spatial):
    make = Maker(spatial)
    assert_equal(cached_reference(tmp_path, "means", "emoji", make), make.made)
    assert_equal(cached_reference(tmp_path, "means", "emoji", make), make.made)
    assert make.calls == 1
    (folder,) = (path for path in tmp_path.iterdir() if path.is_dir())
    assert sorted(path.name for path in folder.iterdir()) == sorted([META, TENSORS])


def test_another_network_or_other_data_are_made_for_themselves(tmp_path):
    for network, fingerprint in (("means", "emoji"), ("others", "emoji"), ("means", "digits")):
        make = Maker(network=network)
        cached_reference(tmp_path, network, fingerprint, make)
        assert make.calls == 1


@pytest.mark.parametrize("name", [META, TENSORS])
@pytest.mark.parametrize("damage", ["cut", "flip", "remove"])
def test_a_damaged_folder_is_made_again(tmp_path, name, damage, caplog):
    make = Maker()
    cached_reference(tmp_path, "means", "emoji", make)
    (folder,) = (path for path in tmp_path.iterdir() if path.is_dir())
    content = bytearray((folder / name).read_bytes())
    if damage == "remove":
        (folder / name).unlink()
    else:
        content[-5] ^= 1  # a digit of a figure, or of the hash
        (folder / name).write_bytes(content[:-5] if damage == "cut" else content)
    with caplog.at_level(logging.WARNING):
        assert_equal(cached_reference(tmp_path, "means", "emoji", make), make.made)
    assert make.calls == 2 and "are damaged" in caplog.text and str(folder) in caplog.text
    cached_reference(tmp_path, "means", "emoji", make)
    assert make.calls == 2


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(
        DataError, match="the cache of reference features .*file cannot be written: .*or set measures.cache to ano"
    ):
        cached_reference(tmp_path / "file", "means", "emoji", Maker(), setting="measures.cache")


def test_measures_bear_the_networks_name():
    real, made = (collect(plain_network(), [pictures(60, seed=seed, brightness=light)]) for seed, light in ((0, 128), (1, 120)))
    found = measure(made, real, MeasureConfig(kernel_subsets=4, kernel_subset_size=20, at_infinity=True))
    names = ("fid", "fid_at_infinity", "kid", "kid_deviation", "inception_score", "inception_score_deviation")
    assert sorted(found.figures) == sorted(f"means/{name}" for name in (*names, "precision", "recall", "density", "coverage"))
    assert found.figures["means/fid"] == frechet_distance(made.pool, real.pool) and found.notes == ()
    same = measure(real, real, MeasureConfig(kernel_subsets=4))
    assert abs(same.figures["means/fid"]) < 1e-8 * np.trace(real.pool.covariance)
    assert same.figures["means/precision"] == same.figures["means/coverage"] == 1
    assert same.notes == ("kid: over subsets of all 60 images of the smaller set, not of 1,000.",)


def test_few_images_are_noted():
    maker = Maker()
    few = collect(plain_network(), [pictures(3)], keep=3)
    many = type(few)("means", few.pool, None, maker.made.features, None)
    with pytest.raises(DataError, match="a neighbour number 3 needs more than 3 images"):
        measure(few, maker.made, MeasureConfig(score_splits=1))
    found = measure(many, maker.made, MeasureConfig(kernel_subset_size=30))
    assert len(found.notes) == 1
    assert found.notes[0].startswith("fid: of generated images, 3 images for 3 features: their covariance has at most rank 2")


def test_what_does_not_fit_together():
    made = Maker().made
    other = type(made)("another", made.pool, None, made.features, None)
    with pytest.raises(DataError, match="generated images were seen by means, real ones by another; use one for both"):
        measure(made, other)
    with pytest.raises(ConfigError, match="measures.kernel_subset_size is 1; it must be 2 or more"):
        MeasureConfig(kernel_subset_size=1)
