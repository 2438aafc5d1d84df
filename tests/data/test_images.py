"""Images with classes: what is read from where, and rows that are a pure function of seed, epoch and row."""

import gzip
import struct

import numpy as np
import pytest

from genjax import data
from genjax.data.found import with_found
from genjax.data.images import hold_out
from genjax.data.sources.idx import read_idx
from genjax.errors import ConfigError, DataError
from tests.data.pictures import noise_png, png, write_folder, write_zip

FILES = {f"set/{name}/{i}.png": noise_png(10 * n + i) for n, name in enumerate(("cat", "dog", "owl")) for i in range(8)}


def build(path, seed=0, cache_dir=None, **config):
    return data.build({"name": "images", "path": str(path), "batch_size": 4} | config, seed=seed, cache_dir=cache_dir)


def write_idx(folder, images, labels, part="train"):
    for name, array in ((f"{part}-images-idx3-ubyte.gz", images), (f"{part}-labels-idx1-ubyte.gz", labels)):
        header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
        (folder / name).write_bytes(gzip.compress(header + array.astype(np.uint8).tobytes()))
    return folder / f"{part}-images-idx3-ubyte.gz"


def everything(dataset):
    batches = [dataset.batch(k) for k in range(dataset.num_batches or 6)]
    return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}


@pytest.mark.parametrize("kept", [False, True], ids=["memory", "cache"])
def test_a_folder_and_a_zip_of_it_hold_the_same_images(tmp_path, kept):
    places = write_folder(tmp_path / "folder", FILES), write_zip(tmp_path / "set.zip", FILES)
    cache = tmp_path / "cache" if kept else None
    for path in places:
        sets = [build(path, cache_dir=cache) for _ in range(2)]  # the second finds the cache
        assert sets[0].train.info.classes == ("cat", "dog", "owl")
        assert sets[0].train.fingerprint == sets[1].train.fingerprint
        found = [
            {
                tuple(image.reshape(-1)): label
                for part in (s.train, s.evaluation)
                for image, label in zip(*rows(part), strict=True)
            }
            for s in sets
        ]
        assert found[0] == found[1] and len(found[0]) == 24
        assert np.bincount(list(found[0].values())).tolist() == [8, 8, 8]


def rows(dataset):
    values = dataset.batches.rows.fetch(*[np.arange(dataset.batches.rows.num_rows)] * 2)
    return values["image"], values["label"]


def pixels_to_labels(sets):
    parts = [rows(part) for part in (sets.train, sets.evaluation)]
    return {tuple(image.reshape(-1)): label for part in parts for image, label in zip(*part, strict=True)}


def test_equal_images_stay_on_one_side(tmp_path):
    same = {f"{name}/{i}.png": noise_png(i // 3) for name in ("a", "b") for i in range(30)}
    sets = build(write_zip(tmp_path / "same.zip", same), evaluation_fraction=0.3)
    sides = [{image.tobytes() for image in rows(part)[0]} for part in (sets.train, sets.evaluation)]
    assert sides[0] and sides[1] and not sides[0] & sides[1]


def test_holding_out_leaves_neither_side_empty():
    for fraction in (1e-9, 0.999999):
        held_out = hold_out(["a", "b", "b", "c"], fraction)
        assert held_out.any() and not held_out.all() and held_out[1] == held_out[2]
    assert not hold_out(["a", "b"], 0).any()
    assert not hold_out(["a", "a"], 0.5).any()


def test_idx_files(tmp_path):
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (10, 6, 6)), np.arange(10) % 3
    train, test = write_idx(tmp_path, images, labels), write_idx(tmp_path, images[:5], labels[:5], "t10k")
    sets = build(train, source="idx", channels=1, evaluation_path=str(test), shuffle=False)
    batch = sets.train.batch(0)
    np.testing.assert_array_equal(batch["image"][..., 0], images[:4])
    assert batch["label"].tolist() == [0, 1, 2, 0] and sets.train.info.classes == ("0", "1", "2")
    last = sets.evaluation.batch(1)
    assert last["mask"].tolist() == [1, 0, 0, 0] and not last["image"][1:].any()
    named = build(train, source="idx", channels=1, classes=("x", "y", "z"), evaluation_path=str(test))
    assert named.train.info.classes == ("x", "y", "z")


def test_damaged_idx_files(tmp_path):
    file = tmp_path / "train-images-idx3-ubyte"
    file.write_bytes(struct.pack(">HBBI", 0, 8, 1, 4) + b"abc")
    with pytest.raises(DataError, match="holds 4 numbers, but is of another length"):
        read_idx(file)
    file.write_bytes(b"PNG!")
    with pytest.raises(DataError, match="not an IDX file"):
        read_idx(file)
    with pytest.raises(DataError, match="did you mean|does not exist"):
        build(file, source="idx", channels=1)


def test_a_batch_is_a_pure_function_of_its_number(tmp_path):
    path = write_zip(tmp_path / "set.zip", FILES)
    augmentation = {"flip": True, "pad": 2, "zoom": 0.2, "color": 0.1, "erase": 0.5}
    one, other, seeded = (build(path, seed=seed, augmentation=augmentation).train for seed in (1, 1, 2))
    for k in (5, 0, 17):
        parts = [one.batch(k, process_index=i, process_count=2) for i in range(2)]
        for name, values in other.batch(k).items():
            np.testing.assert_array_equal(values, np.concatenate([part[name] for part in parts]))
    assert one.fingerprint == other.fingerprint != seeded.fingerprint
    assert not np.array_equal(one.batch(0)["image"], seeded.batch(0)["image"])


def test_what_the_data_said_is_found_in_the_run(tmp_path):
    info = build(write_zip(tmp_path / "set.zip", FILES)).train.info
    config = {"name": "images", "batch_size": 4}
    assert data.describe(config).classes == ()
    info.save(tmp_path)
    again = data.describe(with_found(config, tmp_path))
    assert (again.classes, again.height, again.width) == (info.classes, 8, 8)
    assert info.attributes == (("class", ("cat", "dog", "owl")),)


@pytest.mark.parametrize(
    ("files", "config", "message"),
    [
        ({"a/x.png": png("red"), "b/y.png": b"no image"}, {}, "y.png cannot be decoded: not an image"),
        ({"a/x.png": png("red"), "b/y.png": noise_png(1)[:150]}, {}, "y.png cannot be decoded"),
        ({"a/x.png": png("red"), "b/y.png": png("red", (9, 9))}, {}, "several sizes .*set data.image_size"),
        ({"a/x.png": png("red", (8, 9)), "b/y.png": png("red", (8, 9))}, {}, "9x8 pixels; set data.image_size"),
        ({"x.png": png("red")}, {}, "x.png lies in no folder"),
        ({"a/x.png": png("red"), "a/b/y.png": png("red")}, {}, "images in a and in folders below it"),
        ({"a/x.txt": b"text"}, {}, "holds no images"),
        ({"cot/x.png": png("red"), "dog/y.png": png("red")}, {"classes": ("cat", "dog")}, "'cot', .* did you mean 'cat'"),
    ],
)
def test_what_cannot_be_read_is_a_sentence(tmp_path, files, config, message):
    with pytest.raises(DataError, match=message):
        build(write_zip(tmp_path / "set.zip", files), evaluation_fraction=0.0, **config)


def test_settings_that_do_not_go_together():
    with pytest.raises(ConfigError, match="channels is 3, but the images of IDX files are grey"):
        build("x", source="idx")
    with pytest.raises(ConfigError, match="erase_area"):
        build("x", augmentation={"erase_area": (0.5, 0.2)})


def test_fashion_mnist(data_folder):
    folder = data_folder / "fashion_mnist"
    test = str(folder / "t10k-images-idx3-ubyte.gz")
    sets = build(folder / "train-images-idx3-ubyte.gz", source="idx", channels=1, evaluation_path=test)
    assert sets.train.info.num_rows == 60_000 and sets.evaluation.info.num_rows == 10_000
    assert np.bincount(rows(sets.train)[1]).tolist() == [6000] * 10
