"""Images with classes: what is read from where, and rows that are a pure function of seed, epoch and row."""

import gzip
import io
import json
import struct

import numpy as np
import pytest
from PIL import Image

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


def test_the_fingerprint_of_a_run_from_before_stays(tmp_path):
    """A run that was started by an older version goes on: these were computed by the one of 2026-11-21."""
    for i in range(6):
        file = tmp_path / "set" / ("cat", "dog")[i % 2] / f"{i}.ppm"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"P6 2 2 255\n" + bytes(range(i, i + 12)))
    folder = tmp_path / "set"
    assert build(folder, seed=3, batch_size=2, evaluation_fraction=0.0).train.fingerprint == "abb5b8096b2e5f73"
    sets = build(folder, seed=3, batch_size=2, image_size=4, evaluation_path=str(folder))
    assert (sets.train.fingerprint, sets.evaluation.fingerprint) == ("6f879dcf1d7d3ddf", "b4c3a31e75a5a895")


def lines(labels, **more):
    return "\n".join(json.dumps({"file_name": name, "label": label} | more) for name, label in labels.items()).encode()


def labels_of(sets, files):
    """The class of each file that the datasets hold, found by its pixels."""
    names = {noise.tobytes(): name for name, noise in files.items()}
    parts = [part for part in (sets.train, sets.evaluation) if part]
    return {names[image.tobytes()]: int(label) for part in parts for image, label in zip(*rows(part), strict=True)}


def test_classes_from_metadata_lie_where_the_images_do(tmp_path):
    """Also with a file for each folder, whatever the folders are called; by names, or by numbers that data.classes names."""
    names = [f"{folder}/{i}.png" for folder in ("one", "two") for i in range(6)]
    files = {name: noise_png(i) for i, name in enumerate(names)}
    pixels = {name: decoded(content) for name, content in files.items()}
    kinds = {name: ("owl", "cat", "dog")[i % 3] for i, name in enumerate(names)}
    own = {
        f"{folder}/metadata.jsonl": lines({n.split("/")[1]: k for n, k in kinds.items() if n.startswith(folder)})
        for folder in ("one", "two")
    }
    expected = {name: ("cat", "dog", "owl").index(kind) for name, kind in kinds.items()}
    for number, made in enumerate((own, {"metadata.jsonl": lines(kinds)}, {"metadata.jsonl": lines(expected)})):
        for path in (write_zip(tmp_path / f"{number}.zip", files | made), write_folder(tmp_path / str(number), files | made)):
            sets = build(path, labels="metadata", **({"classes": ("cat", "dog", "owl")} if number == 2 else {}))
            assert labels_of(sets, pixels) == expected and sets.train.info.classes == ("cat", "dog", "owl")
    assert build(path, labels="metadata").train.info.classes == ("0", "1", "2")
    with pytest.raises(ConfigError, match="names 2 classes, but .* has labels up to 2"):
        build(path, labels="metadata", classes=("cat", "dog"))


def decoded(content):
    return np.asarray(Image.open(io.BytesIO(content)))


def test_without_classes_images_may_lie_anywhere(tmp_path):
    files = {name: noise_png(i) for i, name in enumerate(("a.png", "b.png", "set/c.png", "set/deep/d.png"))}
    path = write_zip(tmp_path / "set.zip", files)
    sets = build(path, labels="none", batch_size=2)
    assert labels_of(sets, {name: decoded(content) for name, content in files.items()}) == dict.fromkeys(files, 0)
    assert sets.train.info.classes == () and "no classes" in str(sets.train.info)
    sets.train.info.save(tmp_path)
    assert data.describe(with_found({"name": "images", "labels": "none"}, tmp_path)).height == 8
    # The same images with labels are other rows.
    labelled = write_zip(tmp_path / "labelled.zip", {f"x/{name}": content for name, content in files.items()})
    prints = {build(labelled, labels=labels, batch_size=2).train.fingerprint for labels in ("none", "none")}
    assert len(prints) == 1 and build(path, labels="none", batch_size=2).train.fingerprint not in prints


def test_the_same_place_with_other_labels_is_another_dataset(tmp_path):
    files = {f"{'ab'[i % 2]}/{i}.png": noise_png(i) for i in range(4)}
    metadata = lines({name: name[0] for name in files}, other="a")
    path = write_zip(tmp_path / "set.zip", files | {"metadata.jsonl": metadata})
    settings = ({}, {"labels": "metadata"}, {"labels": "metadata", "label_field": "other"}, {"labels": "none"})
    built = [build(path, cache_dir=tmp_path / "cache", batch_size=2, **setting) for setting in settings]
    assert len({sets.train.fingerprint for sets in built}) == 4
    assert len(list((tmp_path / "cache").glob("images-*/"))) == 1  # the decoded images are the same


@pytest.mark.parametrize("kept", [False, True], ids=["memory", "cache"])
def test_what_cannot_be_decoded_is_left_out_and_noted(tmp_path, kept):
    cache = tmp_path / "cache" if kept else None
    files = {f"{'ab'[i % 2]}/{i}.png": noise_png(i) for i in range(8)}
    bad = {"a/1_bad.png": b"no image", "b/9.png": noise_png(9)[:100], **{f"b/x{i}.png": b"" for i in range(3)}}
    path = write_zip(tmp_path / "set.zip", files | bad)
    with pytest.raises(DataError, match="1_bad.png cannot be decoded"):
        build(path, cache_dir=cache)
    for _ in range(2):  # the second finds the cache
        sets = build(path, cache_dir=cache, on_corrupt="skip")
        remark = f"5 of {path} left out that cannot be decoded (a/1_bad.png; b/9.png; b/x0.png; ...)"
        assert sets.train.info.remarks == (remark,) and str(sets.train.info).endswith(f"2 classes; {remark}")
        found = labels_of(sets, {name: decoded(content) for name, content in files.items()})
        assert found == {name: "ab".index(name[0]) for name in files}
    with pytest.raises(DataError, match="1_bad.png cannot be decoded"):
        build(path, cache_dir=cache)
    # Nothing is left out: the same dataset as without the setting.
    clean = write_zip(tmp_path / "clean.zip", files)
    assert build(clean, on_corrupt="skip").train.fingerprint == build(clean).train.fingerprint
    # Metadata may speak of what was left out.
    named = write_zip(tmp_path / "named.zip", files | bad | {"metadata.jsonl": lines(dict.fromkeys(files | bad, "a"))})
    assert build(named, on_corrupt="skip", labels="metadata").train.info.classes == ("a",)
    with pytest.raises(DataError, match="none of the 2 images of .* can be used. The first: the image .*a/x.png cannot be"):
        build(write_zip(tmp_path / "bad.zip", {"a/x.png": b"", "a/y.png": b""}), on_corrupt="skip")


def test_images_that_are_enlarged_or_lose_much_are_noted(tmp_path):
    sizes = {"a/even.png": (16, 16), "a/small.png": (4, 5), "b/long.png": (40, 16), "b/near.png": (16, 24)}
    path = write_zip(tmp_path / "set.zip", {name: png("red", size) for name, size in sizes.items()})
    for fit, what in (("crop", "cropped to less than two thirds"), ("stretch", "stretched by more than 1.5")):
        info = build(path, image_size=16, fit=fit, evaluation_fraction=0.0).train.info
        assert info.remarks == (
            f"1 of {path} smaller than 16x16 and enlarged (a/small.png, 5x4)",
            f"1 of {path} {what} (b/long.png, 16x40)",
        )
    everywhere = build(path, image_size=4, evaluation_path=str(path)).train.info
    assert len(everywhere.remarks) == 2  # those of the held-out images too


def test_an_archive_laid_out_as_that_of_cifar10(tmp_path):
    """Class folders of small JPEG files at the archive's root, numbered alike in each."""
    files = {}
    for kind, name in enumerate(("airplane", "automobile", "bird")):
        for i in range(5):
            stream = io.BytesIO()
            Image.new("RGB", (32, 32), (80 * kind, 20 * i, 0)).save(stream, "JPEG")
            files[f"{name}/{i:04}.jpg"] = stream.getvalue()
    sets = build(write_zip(tmp_path / "cifar10_train.zip", files), evaluation_fraction=0.2)
    assert sets.train.info.classes == ("airplane", "automobile", "bird") and sets.train.info.remarks == ()
    images, labels = rows(sets.train)
    assert images.shape[1:] == (32, 32, 3) and np.abs(images[:, 0, 0, 0].astype(int) - 80 * labels).max() <= 4
    assert len(labels) + sets.evaluation.info.num_rows == 15


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


def test_idx_files_come_to_the_size_that_is_asked_for(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (4, 6, 6))
    train = write_idx(tmp_path, images, np.zeros(4, int))
    found = build(train, source="idx", channels=1, image_size=12, evaluation_fraction=0.0, shuffle=False).train.batch(0)["image"]
    larger = Image.fromarray(images[1].astype(np.uint8)).resize((12, 12), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(found[1, :, :, 0], np.asarray(larger))
    train = write_idx(tmp_path, images[:, :4], np.zeros(4, int))
    with pytest.raises(DataError, match="are 4x6 pixels; set data.image_size"):
        build(train, source="idx", channels=1)
    assert build(train, source="idx", channels=1, image_size=4, evaluation_fraction=0.0).train.info.width == 4


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
        ({"x.png": png("red")}, {"labels": "metadata"}, "holds no metadata.jsonl, which would say what its images are"),
        ({"x.png": png("red"), "metadata.jsonl": b"{}"}, {"labels": "metadata"}, "line 1 names no file"),
        (
            {"x.png": png("red"), "y.png": png("red"), "metadata.jsonl": lines({"x.png": "a"})},
            {"labels": "metadata"},
            r"y.png has no line in metadata.jsonl \(1 images have none\); write what they are, or set data.labels to",
        ),
        ({"x.png": png("red"), "metadata.jsonl": lines({"z.png": "a"})}, {"labels": "metadata"}, "image z.png, which is not"),
        (
            {"x.png": png("red"), "metadata.jsonl": lines({"x.png": True}, kind="a")},
            {"labels": "metadata"},
            "has no class in 'label', a text or a whole number; it has file_name, label, kind; set data.label_field",
        ),
        (
            {"x.png": png("red"), "metadata.jsonl": lines({"x.png": "a"}) + b"\n" + lines({"./x.png": "b"})},
            {"labels": "metadata"},
            "line 2 says that x.png is 'b', an earlier line that it is 'a'",
        ),
        (
            {"x.png": png("red"), "y.png": png("red"), "metadata.jsonl": lines({"x.png": "a", "y.png": 1})},
            {"labels": "metadata"},
            "has texts and numbers for classes, such as 'a'",
        ),
        (
            {"x.png": png("red"), "metadata.jsonl": lines({"x.png": 1 << 40})},
            {"labels": "metadata"},
            "has the label 1099511627776, which is no class's number",
        ),
        ({"cot/x.png": png("red"), "dog/y.png": png("red")}, {"classes": ("cat", "dog")}, "'cot', .* did you mean 'cat'"),
    ],
)
def test_what_cannot_be_read_is_a_sentence(tmp_path, files, config, message):
    with pytest.raises(DataError, match=message):
        build(write_zip(tmp_path / "set.zip", files), evaluation_fraction=0.0, **config)


def test_settings_that_do_not_go_together():
    with pytest.raises(ConfigError, match="channels is 3, but the images of IDX files are grey"):
        build("x", source="idx")
    with pytest.raises(ConfigError, match="source 'idx' has labels of its own"):
        build("x", source="idx", channels=1, labels="metadata")
    with pytest.raises(ConfigError, match="names 2 classes, but data.labels is 'none'"):
        build("x", labels="none", classes=("a", "b"))
    with pytest.raises(ConfigError, match="data.tfds_name is empty"):
        build("x", source="tfds")
    with pytest.raises(ConfigError, match="use data.evaluation_tfds_split"):
        build("x", source="tfds", tfds_name="cifar10", evaluation_path="y")
    with pytest.raises(ConfigError, match="use data.evaluation_path"):
        build("x", evaluation_tfds_split="test")
    with pytest.raises(ConfigError, match="erase_area"):
        build("x", augmentation={"erase_area": (0.5, 0.2)})


def test_fashion_mnist(data_folder):
    folder = data_folder / "fashion_mnist"
    test = str(folder / "t10k-images-idx3-ubyte.gz")
    sets = build(folder / "train-images-idx3-ubyte.gz", source="idx", channels=1, evaluation_path=test)
    assert sets.train.info.num_rows == 60_000 and sets.evaluation.info.num_rows == 10_000
    assert np.bincount(rows(sets.train)[1]).tolist() == [6000] * 10
