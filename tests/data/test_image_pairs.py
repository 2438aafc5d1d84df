"""Two images a row: halves of a file, two folders of the same names, and two kinds that have nothing to do with each other."""

import io
import zipfile

import numpy as np
import pytest
from PIL import Image

from genjax import data
from genjax.errors import ConfigError, DataError


def png(image):
    out = io.BytesIO()
    Image.fromarray(image).save(out, "PNG")
    return out.getvalue()


def picture(number, height=6, width=6):
    """One whose every pixel says where it is and of what number it is: (number, row, column)."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([np.full((height, width), number), 10 * rows, 10 * columns], axis=-1).astype(np.uint8)


@pytest.fixture(scope="module")
def beside(tmp_path_factory):
    path = tmp_path_factory.mktemp("pairs") / "beside.zip"
    with zipfile.ZipFile(path, "w") as file:
        for folder, numbers in (("train", range(12)), ("val", range(20, 23))):
            for number in numbers:
                both = np.concatenate([picture(number), picture(100 + number)], axis=1)
                file.writestr(f"{folder}/{number}.png", png(both))
    return path


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    path = tmp_path_factory.mktemp("folders")
    for folder, numbers, add in (("horses", range(20), 0), ("zebras", range(20), 100), ("other", range(5, 30), 200)):
        (path / folder).mkdir()
        for number in numbers:
            (path / folder / f"{number}.png").write_bytes(png(picture(add + number)))
    return path


def build(path, seed=0, **config):
    return data.build({"name": "image_pairs", "path": str(path), "batch_size": 4} | config, seed=seed, cache_dir=None)


def numbers(batch):
    return [(int(s), int(t)) for s, t in zip(batch["source"][:, 0, 0, 0], batch["target"][:, 0, 0, 0], strict=True)]


def test_halves_of_a_file(beside):
    sets = build(beside, train="train", evaluation="val", shuffle=False)
    assert numbers(sets.train.batch(0)) == [(100, 0), (101, 1), (102, 2), (103, 3)]
    assert numbers(sets.evaluation.batch(0)) == [(120, 20), (121, 21), (122, 22), (0, 0)]
    assert sets.evaluation.batch(0)["mask"].tolist() == [1, 1, 1, 0]
    other_way = build(beside, source="left", target="right", train="train", evaluation="val", shuffle=False)
    assert numbers(other_way.train.batch(0))[0] == (0, 100)
    assert other_way.train.fingerprint != sets.train.fingerprint
    assert str(sets.train.info) == "12 pairs of images of 6x6 pixels and 3 channels, right to left"
    chosen = build(beside, evaluation_fraction=0.3)
    seen = {pair for k in range(10) for pair in numbers(chosen.train.batch(k))}
    assert all(source == 100 + target for source, target in seen)
    held_out = {pair for pair in numbers(chosen.evaluation.batch(0)) if pair != (0, 0)}
    assert held_out and not held_out & seen
    np.testing.assert_array_equal(build(beside, image_size=12, train="train").train.batch(0)["source"].shape, (4, 12, 12, 3))


def test_crops_and_flips_are_the_same_of_both(beside):
    sets = build(beside, train="train", evaluation="val", crop=4, augmentation={"flip": True}, batch_size=8)
    places = set()
    for k in range(20):
        batch = sets.train.batch(k)
        np.testing.assert_array_equal(batch["source"][..., 1:], batch["target"][..., 1:])
        first = batch["source"][:, 0, :, 1:]
        places |= {(int(row[0, 0]), int(row[0, 1]), int(row[-1, 1])) for row in first}
    assert {row for row, _, _ in places} == {0, 10, 20} and len(places) == 3 * 3 * 2
    middle = sets.evaluation.batch(0)["source"][0]
    np.testing.assert_array_equal(middle[..., 1:], picture(0)[1:5, 1:5, 1:])
    again = build(beside, train="train", evaluation="val", crop=4, augmentation={"flip": True}, batch_size=8)
    half = again.train.batch(19, process_index=1, process_count=2)
    np.testing.assert_array_equal(half["target"], batch["target"][4:])


def test_two_folders_of_the_same_names(folders):
    sets = build(folders, layout="folders", source="horses", target="zebras", evaluation_fraction=0.2)
    seen = {pair for k in range(10) for pair in numbers(sets.train.batch(k))}
    assert all(target == 100 + source for source, target in seen) and sets.train.info.paired
    held_out = {pair for k in range(sets.evaluation.num_batches) for pair in numbers(sets.evaluation.batch(k))} - {(0, 0)}
    assert len(seen) + len(held_out) == 20 and not seen & held_out
    with pytest.raises(DataError, match="15 images lie in one of horses and other alone, such as 0, 1, 2"):
        build(folders, layout="folders", source="horses", target="other")


def test_two_kinds_meet_at_random_and_pairs_are_held_out_on_both_sides(folders):
    sets = build(folders, layout="unpaired", source="horses", target="other", evaluation_fraction=0.3)
    batches = [numbers(sets.train.batch(k)) for k in range(40)]
    seen = {pair for batch in batches for pair in batch}
    sources, targets = ({pair[side] for pair in seen} for side in (0, 1))
    held_out = {pair for k in range(sets.evaluation.num_batches) for pair in numbers(sets.evaluation.batch(k))} - {(0, 0)}
    assert held_out and all(target == 200 + source for source, target in held_out)
    assert not sources & {source for source, _ in held_out} and not targets & {target for _, target in held_out}
    assert len(sources) == 20 - len(held_out) and len(targets) == 25 - len(held_out)
    assert sum(target == 200 + source for source, target in seen) < 0.3 * len(seen)
    # An epoch shows each of the larger kind once, and another epoch other pairs.
    rows = sets.train.info.num_rows
    assert rows == len(targets)
    epochs = [[pair for k in range(e * rows, (e + 1) * rows, 4) for pair in numbers(sets.train.batch(k // 4))] for e in (0, 4)]
    assert set(epochs[0]) != set(epochs[1]) and not sets.train.info.paired


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"path": ""}, "data.path is empty"),
        ({"source": "left"}, "both 'left'"),
        ({"source": "google", "target": "twitter"}, "side by side they are 'left' and 'right'"),
        ({"layout": "folders", "source": "a", "target": "b", "train": "x"}, "folders of images side by side, not of 'folders'"),
        ({"image_size": 8, "crop": 9}, "data.crop 9 is larger than data.image_size 8"),
        ({"layout": "sides"}, "data.layout"),
        ({"batch_size": 0}, "data.batch_size is 0"),
        ({"evaluation_fraction": 1.0}, "evaluation_fraction is 1.0"),
    ],
)
def test_bad_configs(config, message):
    with pytest.raises(ConfigError, match=message):
        data.describe({"name": "image_pairs", "path": "x", "batch_size": 4} | config)


def test_images_that_are_no_pairs(tmp_path, beside):
    (tmp_path / "a.png").write_bytes(png(picture(1, 4, 7)))
    with pytest.raises(DataError, match="a.png is 7 pixels wide, which are no two halves"):
        build(tmp_path)
    with pytest.raises(ConfigError, match="data.crop 7 is larger than the images, which are 6x6"):
        build(beside, crop=7)
    for folder, size in (("one", 4), ("two", 6)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.png").write_bytes(png(picture(1, size, size)))
    with pytest.raises(DataError, match="images of one are 4x4 pixels and those of two 6x6; set data.image_size"):
        build(tmp_path, layout="folders", source="one", target="two")
