"""Latents from arrays on disk: rows, labels, what is held out, and arrays that are not what they should be."""

import numpy as np
import pytest

from genjax import data
from genjax.errors import ConfigError, DataError


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    np.save(tmp_path / "latents.npy", rng.standard_normal((40, 4, 4, 3)).astype(np.float16))
    np.save(tmp_path / "labels.npy", rng.integers(0, 5, 40))
    return tmp_path


def build(folder, **section):
    config = {"name": "latents", "path": str(folder), "batch_size": 4, "evaluation_fraction": 0.2}
    return data.build(config | section, seed=0, cache_dir=None)


def test_every_latent_comes_once_with_its_label(folder):
    found = build(folder, scale=0.5)
    latents, labels = np.load(folder / "latents.npy"), np.load(folder / "labels.npy")
    rows = found.train.info.num_rows
    assert rows + found.evaluation.info.num_rows == 40 and 4 <= found.evaluation.info.num_rows <= 14
    assert str(found.train.info) == f"{rows:,} latents of 4x4x3, 5 classes"
    seen = [found.train.batch(k) for k in range(rows // 4)]
    assert all(batch["latent"].dtype == np.float32 for batch in seen)
    half = {tuple((0.5 * row.astype(np.float32)).ravel()): label for row, label in zip(latents, labels, strict=True)}
    keys = [tuple(row.ravel()) for batch in seen for row in batch["latent"]]
    assert len(set(keys)) == len(keys)
    assert [half[key] for key in keys] == [int(label) for batch in seen for label in batch["label"]]
    assert found.train.info.attributes == (("class", ("0", "1", "2", "3", "4")),)


def test_latents_without_labels(folder):
    (folder / "labels.npy").unlink()
    found = build(folder)
    assert found.train.info.attributes == () and set(found.train.batch(0)) == {"latent", "mask"}


def test_a_description_is_that_of_the_data(folder):
    info = data.describe({"name": "latents", "batch_size": 4, "size": (4, 4, 3), "classes": tuple("01234")})
    assert (info.size, info.attributes) == ((4, 4, 3), build(folder).train.info.attributes)


def test_arrays_that_are_not_what_they_should_be(folder, tmp_path):
    for section, message in (
        ({"size": (8, 8, 3)}, r"holds float16 \[40, 4, 4, 3\], not numbers \[rows, 8x8x3\]"),
        ({"classes": ("a", "b")}, "data.classes names 2"),
    ):
        with pytest.raises(DataError, match=message):
            build(folder, **section)
    np.save(folder / "labels.npy", np.zeros(39, int))
    with pytest.raises(DataError, match="not a whole number for each latent"):
        build(folder)
    np.save(folder / "latents.npy", np.array([{"a": 1}]), allow_pickle=True)
    with pytest.raises(DataError, match="is no array of numbers"):
        build(folder)
    (folder / "latents.npy").unlink()
    with pytest.raises(DataError, match="has no latents.npy"):
        build(folder)
    for section, message in (
        ({"size": (4, 4)}, "data.size is"),
        ({"scale": 0.0}, "scale is 0.0"),
        ({"batch_size": 0}, "batch_size is 0"),
    ):
        with pytest.raises(ConfigError, match=message):
            build(folder, **section)
