"""Images with texts: what is held out together, which text a row has, and rows that are a pure function of their number."""

import io
import json
import tarfile

import numpy as np
import pytest
from PIL import Image

from genjax import data
from genjax.data.image_text_places import Described
from genjax.data.image_texts import compose
from genjax.data.text_rows import text_rows
from genjax.data.tokenizers.character import CharacterTokenizer
from genjax.data.tokenizers.wordpiece import train_wordpiece
from genjax.errors import ConfigError, DataError
from tests.data.pictures import noise_png, write_folder, write_zip

WORDS = ("red", "blue", "cat", "dog", "owl", "sun", "moon", "tree")
TOKENIZER = {"name": "wordpiece", "vocab_size": 60}


def metadata(names):
    lines = [
        {"file_name": name, "text": f"a {WORDS[i % 8]}", "keywords": [WORDS[i % 8], "thing"]} for i, name in enumerate(names)
    ]
    return "\n".join(json.dumps(line) for line in lines).encode()


def two_vendors(count=20):
    names = [f"{i}.png" for i in range(count)]
    files = {f"set/{view}/{name}": noise_png(100 * v + i) for v, view in enumerate("gt") for i, name in enumerate(names)}
    return files | {f"set/{view}/metadata.jsonl": metadata(names) for view in "gt"}


def build(path, seed=0, **config):
    given = {"name": "image_texts", "path": str(path), "batch_size": 4, "context_length": 8, "tokenizer": TOKENIZER}
    return data.build(given | config, seed=seed, cache_dir=None)


def rows(dataset):
    count = dataset.batches.rows.num_rows
    return dataset.batches.rows.fetch(np.zeros(count, int), np.arange(count))


@pytest.mark.parametrize("views", [("g", "t"), ()], ids=["pairs", "single"])
def test_what_is_held_out_is_held_out_in_every_view(tmp_path, views):
    """Also without views, where each picture is a row of its own."""
    sets = build(write_zip(tmp_path / "set.zip", two_vendors()), views=views, evaluation_fraction=0.3)
    sides = []
    for part in (sets.train, sets.evaluation):
        assert part.info.pairs == bool(views) and ("second_image" in part.spec) == bool(views)
        sides.append({thing.name.rsplit("/", 1)[-1] for thing in part.batches.rows.things})
        assert part.info.num_rows == len(sides[-1]) * (1 if views else 2)
    assert not sides[0] & sides[1] and len(sides[0] | sides[1]) == 20 and min(map(len, sides)) > 1


def test_rows_are_what_the_metadata_says(tmp_path):
    files = two_vendors()
    sets = build(write_folder(tmp_path, files) / "set", views=("t", "g"), evaluation_fraction=0.3)
    values, things = rows(sets.evaluation), sets.evaluation.batches.rows.things
    for i, thing in enumerate(things):
        for column, view in (("image", "t"), ("second_image", "g")):
            expected = np.asarray(Image.open(io.BytesIO(files[f"set/{view}/{thing.name}"])))
            np.testing.assert_array_equal(values[column][i], expected)
        tokens = values["tokens"][i]
        assert sets.train.info.tokenizer.decode(tokens) == thing.texts[0]
    assert values["mask"].all()


def test_in_training_the_views_take_turns_and_texts_are_drawn(tmp_path):
    sets = build(
        write_zip(tmp_path / "set.zip", two_vendors()), views=("g", "t"), words_field="keywords", evaluation_fraction=0.0
    )
    assert sets.evaluation is None
    source = sets.train.batches.rows
    count = 200
    values = source.fetch(np.arange(count), np.zeros(count, int))
    first = source.images[source.things[0].images[0]]
    share = (values["image"] == first).all((1, 2, 3)).mean()
    assert 0.35 < share < 0.65
    np.testing.assert_array_equal((values["second_image"] == first).all((1, 2, 3)), ~(values["image"] == first).all((1, 2, 3)))
    texts = {source.tokenizer.decode(row).replace(" ,", ",") for row in values["tokens"]}
    assert texts >= {"a red", "red", "thing", "a red, red", "a red, thing"}


def test_texts_are_drawn_evenly_from_text_and_words():
    thing = Described("x", (0,), ("one", "two"), ("p", "q", "r"))
    draws = np.random.default_rng(0).random((3000, 35))
    found = [compose(thing, row) for row in draws]
    alone = np.mean([text in ("one", "two") for text in found])
    words = np.mean([set(text.split(", ")) <= {"p", "q", "r"} for text in found])
    assert abs(alone - 1 / 3) < 0.03 and abs(words - 1 / 3) < 0.03
    assert abs(np.mean([text.startswith("one") for text in found]) - 1 / 3) < 0.03
    assert all(len(set(text.split(", "))) == len(text.split(", ")) for text in found)
    assert {compose(Described("x", (0,), ("one",)), row) for row in draws[:50]} == {"one"}


def test_a_batch_is_a_pure_function_of_its_number(tmp_path):
    path = write_zip(tmp_path / "set.zip", two_vendors())
    config = {"views": ("g", "t"), "words_field": "keywords", "augmentation": {"flip": True, "pad": 2}}
    one, other, seeded = (build(path, seed=seed, **config).train for seed in (1, 1, 2))
    for k in (7, 0):
        parts = [one.batch(k, process_index=i, process_count=2) for i in range(2)]
        for name, values in other.batch(k).items():
            np.testing.assert_array_equal(values, np.concatenate([part[name] for part in parts]))
    assert one.fingerprint == other.fingerprint != seeded.fingerprint


def test_rows_of_tokens_end_and_are_padded_with_the_end_token():
    tokenizer = train_wordpiece(["a cat, a dog"] * 3, 60)
    found = text_rows(tokenizer, ["a cat", "a cat a dog a cat"], 5)
    assert found[:, 0].tolist() == [tokenizer.cls_id] * 2 and found[:, -1].tolist() == [tokenizer.sep_id] * 2
    assert found[0].tolist().count(tokenizer.sep_id) == 5 - 1 - len(tokenizer.encode("a cat"))
    plain = text_rows(tokenizer, ["A cat, a DOG!"], 8, canonical=True)[0]
    assert plain.tolist()[:4] == tokenizer.encode("a cat a dog").tolist()[:4]
    with pytest.raises(ConfigError, match="context_length 2 has no room"):
        text_rows(tokenizer, ["a"], 2)
    with pytest.raises(ConfigError, match="this tokenizer has none"):
        text_rows(CharacterTokenizer("abc", False), ["a"], 8)


@pytest.mark.parametrize(
    ("changes", "config", "message"),
    [
        ({"metadata.jsonl": b"{"}, {}, "metadata.jsonl, line 1 is not JSON"),
        ({"metadata.jsonl": b'["x"]'}, {}, "names no file"),
        ({"metadata.jsonl": b'{"file_name": "y.png", "text": "a"}'}, {}, "names the image y.png, which is not there"),
        ({"metadata.jsonl": b'{"file_name": "x.png", "title": "a"}'}, {}, "no text in 'text'; it has file_name, title"),
        ({"metadata.jsonl": b'{"file_name": "x.png", "text": 3}'}, {}, "'text' must be a text or a list of texts, but is 3"),
        ({"metadata.jsonl": b'{"file_name": "x.png", "text": "a"}'}, {"views": ("g", "t")}, "data.views names 'g'"),
        ({}, {}, "holds no metadata.jsonl"),
    ],
)
def test_what_cannot_be_read_is_a_sentence(tmp_path, changes, config, message):
    path = write_zip(tmp_path / "set.zip", {"x.png": noise_png(0)} | changes)
    with pytest.raises(DataError, match=message):
        build(path, evaluation_fraction=0.0, **config)


def test_five_captions_of_a_photograph(data_folder):
    sets = build(data_folder / "flickr900.zip", image_size=32, tokenizer={"name": "wordpiece", "vocab_size": 500})
    assert sets.train.info.num_texts == 5 * sets.train.info.num_rows
    assert sets.train.info.num_rows + sets.evaluation.info.num_rows == 900
    assert sets.train.batch(0)["image"].shape == (4, 32, 32, 3)


def webdataset(count, first=0):
    """The members of one shard: an image, its text and an object with words for each key."""
    files = {}
    for i in range(first, first + count):
        files[f"{i:04}.png"] = noise_png(i)
        files[f"{i:04}.txt"] = f"a {WORDS[i % 8]}\n".encode()
        files[f"{i:04}.json"] = json.dumps({"keywords": [WORDS[i % 8], "thing"]}).encode()
    return files


def write_tar(path, files):
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


@pytest.mark.parametrize("place", ["glob", "folder", "one"])
def test_shards_of_webdataset_are_as_metadata_says(tmp_path, place):
    """Several archives, or one: the same images and texts as those of a folder with a metadata.jsonl."""
    names = [f"{i:04}.png" for i in range(12)]
    plain = build(
        write_zip(tmp_path / "set.zip", {n: noise_png(i) for i, n in enumerate(names)} | {"metadata.jsonl": metadata(names)})
    )
    (tmp_path / "shards").mkdir()
    for number in range(1 if place == "one" else 3):
        count = 12 if place == "one" else 4
        write_tar(tmp_path / "shards" / f"part-{number}.tar", webdataset(count, number * count))
    path = {"glob": "shards/part-*.tar", "folder": "shards", "one": "shards/part-0.tar"}[place]
    sets = build(tmp_path / path, words_field="keywords")
    found, expected = (
        sorted((image.tobytes(), thing.texts) for image, thing in zip(rows(part)["image"], part.batches.rows.things, strict=True))
        for part in (sets.evaluation or sets.train, plain.evaluation or plain.train)
    )
    everything = [thing for part in (sets.train, sets.evaluation) if part for thing in part.batches.rows.things]
    assert len(everything) == 12 and all(thing.words == (thing.texts[0][2:], "thing") for thing in everything)
    if place == "one":  # whose file names are those of the zip, and so what is held out
        assert found == expected


def test_shards_that_say_nothing(tmp_path):
    write_tar(tmp_path / "set.tar", {f"{i}.png": noise_png(i) for i in range(3)})
    with pytest.raises(DataError, match="holds no metadata.jsonl, .* and no .txt or .json beside them"):
        build(tmp_path / "set.tar")
    write_tar(tmp_path / "bad.tar", {"0.png": noise_png(0), "0.json": b"[1"})
    with pytest.raises(DataError, match="0.json is no object in JSON"):
        build(tmp_path / "bad.tar")
