"""TFDS data sets in array_record files are made and read without TensorFlow."""

import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from genjax import data
from genjax.data.sources.tfds import TensorFlowDataset
from genjax.errors import ConfigError, DataError

BUILD = textwrap.dedent(
    """
    import sys
    import numpy as np
    import tensorflow_datasets as tfds

    class TinyTexts(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            features = tfds.features.FeaturesDict({"text": tfds.features.Text(), "number": np.int32})
            return tfds.core.DatasetInfo(builder=self, features=features)

        def _split_generators(self, downloads):
            return {"train": self._generate_examples(0, 600), "test": self._generate_examples(600, 650)}

        def _generate_examples(self, first, last):
            for i in range(first, last):
                yield i, {"text": f"document number {i}, naïve. " * (i % 3), "number": i}

    class TinyImages(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            kinds = tfds.features.ClassLabel(names=["owl", "cat"])
            shape = tfds.features.Image(shape=(None, None, 3))
            features = {"image": shape, "label": kinds, "number": np.int32, "title": tfds.features.Text()}
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

        def _split_generators(self, downloads):
            return {"train": self._generate_examples(0, 12), "test": self._generate_examples(12, 16)}

        def _generate_examples(self, first, last):
            for i in range(first, last):
                content = b"P6 4 4 255\\n" + bytes([i] * 48) if i != 5 else b"damaged"
                yield i, {"image": content, "label": i % 2, "number": i // 6, "title": "ab"[i % 2]}

    class TinyCaptions(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            captions = tfds.features.Sequence({"id": np.int32, "text": tfds.features.Text()})
            words = tfds.features.Sequence(tfds.features.Text())
            image, title = tfds.features.Image(shape=(None, None, 3)), tfds.features.Text()
            features = {"image": image, "captions": captions, "words": words, "title": title}
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

        def _split_generators(self, downloads):
            return {"train": self._generate_examples(0, 12), "validation": self._generate_examples(12, 16)}

        def _generate_examples(self, first, last):
            for i in range(first, last):
                said = [{"id": n, "text": f"{word} number {i}"} for n, word in enumerate(("this is", "naïve"))]
                content = b"P6 4 4 255\\n" + bytes([i] * 48)
                yield i, {"image": content, "captions": said, "words": ["grey", "flat"], "title": f"title {i}"}

    for made in (TinyTexts, TinyImages, TinyCaptions):
        made(data_dir=sys.argv[1], file_format="array_record").download_and_prepare()
    """
)
READ = textwrap.dedent(
    """
    import sys
    import genjax.data
    section = {"source": "tfds", "path": sys.argv[1], "tfds_name": "tiny_texts", "evaluation_tfds_split": "test",
               "batch_size": 4, "sequence_length": 64, "num_threads": 0}
    datasets = genjax.data.build(section, seed=0, cache_dir=None)
    batch = datasets.train.batch(0)
    assert batch["tokens"].shape == (4, 64)
    images = {"name": "images", "source": "tfds", "path": sys.argv[1], "tfds_name": "tiny_images", "batch_size": 4,
              "on_corrupt": "skip", "num_threads": 0}
    assert genjax.data.build(images, seed=0, cache_dir=None).train.batch(0)["image"].shape == (4, 4, 4, 3)
    unwanted = {"tensorflow", "torch", "transformers"} & set(sys.modules)
    assert not unwanted, unwanted
    print(datasets.train.info.num_documents, datasets.evaluation.info.num_documents, datasets.train.fingerprint)
    """
)


def python(code, *arguments):
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("tfds"))
    python(BUILD, folder)
    return folder


def test_a_dataset_is_built_without_importing_tensorflow(data_dir):
    train, evaluation, fingerprint = python(READ, data_dir).split()
    assert (train, evaluation) == ("400", "33")  # a third of the examples is empty
    assert fingerprint == python(READ, data_dir).split()[2]


def test_every_example_comes_once_in_order(data_dir):
    documents = list(TensorFlowDataset("tiny_texts", "train", data_dir))
    assert sorted(d.text for d in documents) == sorted(f"document number {i}, naïve. " * (i % 3) for i in range(600) if i % 3)
    assert [d.text for d in TensorFlowDataset("tiny_texts:1.0.0", "train", data_dir)] == [d.text for d in documents]
    half = list(TensorFlowDataset("tiny_texts", "train[:50%]", data_dir))
    assert [d.text for d in half] == [d.text for d in documents][: len(half)] and 170 < len(half) < 230


def images(data_dir, cache_dir=None, **config):
    given = {"name": "images", "source": "tfds", "path": data_dir, "tfds_name": "tiny_images", "batch_size": 2}
    return data.build(given | {"on_corrupt": "skip"} | config, seed=0, cache_dir=cache_dir)


def numbers_to_labels(dataset):
    """The label of each image by the number that its pixels are."""
    count = dataset.batches.rows.num_rows
    values = dataset.batches.rows.fetch(np.zeros(count, int), np.arange(count))
    assert (values["image"] == values["image"][:, :1, :1, :1]).all()
    return dict(zip(values["image"][:, 0, 0, 0].tolist(), values["label"].tolist(), strict=True))


def test_images_with_the_classes_that_the_dataset_names(data_dir, tmp_path):
    there = [i for i in range(12) if i != 5]
    for cache in (None, tmp_path, tmp_path):
        sets = images(data_dir, cache, evaluation_tfds_split="test")
        assert sets.train.info.classes == ("owl", "cat")
        assert numbers_to_labels(sets.train) == {i: i % 2 for i in there}
        assert numbers_to_labels(sets.evaluation) == {i: i % 2 for i in range(12, 16)}
        assert sets.train.info.remarks[0].startswith("1 of tiny_images[train] left out that cannot be decoded (")
    turned = images(data_dir, classes=("cat", "owl"), evaluation_fraction=0.0).train
    assert numbers_to_labels(turned) == {i: 1 - i % 2 for i in there}
    numbered = images(data_dir, label_field="number", evaluation_fraction=0.0).train
    assert numbers_to_labels(numbered) == {i: i // 6 for i in there} and numbered.info.classes == ("0", "1")
    titled = images(data_dir, label_field="title", evaluation_fraction=0.0).train
    assert numbers_to_labels(titled) == {i: i % 2 for i in there} and titled.info.classes == ("a", "b")
    bare = images(data_dir, labels="none", evaluation_fraction=0.0).train
    assert numbers_to_labels(bare) == dict.fromkeys(there, 0) and bare.info.classes == ()
    whole = images(data_dir, evaluation_fraction=0.0).train
    assert len({found.fingerprint for found in (turned, numbered, titled, bare, whole)}) == 5


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"on_corrupt": "raise"}, r"the image tiny_images\[train\]/\d+ cannot be decoded"),
        ({"image_field": "picture"}, r"has no feature 'picture'; it has image, label, number, title. Set data.image_field"),
        ({"label_field": "kind"}, r"has no feature 'kind'; it has image, label, number, title. Set data.label_field"),
        ({"image_field": "number"}, "the feature 'number' of .* holds no images; set data.image_field to another"),
        ({"label_field": "image"}, "the feature 'image' of .* holds no texts and no whole numbers; set data.label"),
        ({"tfds_split": "dev"}, "has no split 'dev', or nothing in it; it has train, test"),
        ({"classes": ("cat", "dog")}, "images of the class 'owl', which is not one of the 2"),
    ],
)
def test_images_that_cannot_be_read(data_dir, config, message):
    with pytest.raises(DataError, match=message):
        images(data_dir, **config)


def captions(data_dir, **config):
    given = {"name": "image_texts", "source": "tfds", "path": data_dir, "tfds_name": "tiny_captions", "batch_size": 2}
    own = {"text_field": "captions/text", "context_length": 64, "tokenizer": {"name": "byte"}}
    return data.build(given | own | config, seed=0, cache_dir=None)


def said_of_images(dataset):
    """The texts of each image by the number that its pixels are."""
    rows = dataset.batches.rows
    return {int(rows.images[thing.images[0], 0, 0, 0]): (thing.texts, thing.words) for thing in rows.things}


def test_images_with_their_texts(data_dir):
    sets = captions(data_dir, evaluation_tfds_split="validation", words_field="words")
    expected = {i: ((f"this is number {i}", f"naïve number {i}"), ("grey", "flat")) for i in range(16)}
    assert said_of_images(sets.train) == {i: expected[i] for i in range(12)}
    assert said_of_images(sets.evaluation) == {i: expected[i] for i in range(12, 16)}
    batch = sets.evaluation.batch(0)
    texts = [sets.evaluation.info.tokenizer.decode([int(token) for token in row]) for row in batch["tokens"]]
    assert [text.split("number ")[1].strip() for text in texts] == [str(image[0, 0, 0]) for image in batch["image"]]
    drawn = captions(data_dir, text_field="title", evaluation_fraction=0.4)
    parts = [said_of_images(part) for part in (drawn.train, drawn.evaluation)]
    assert parts[0] | parts[1] == {i: ((f"title {i}",), ()) for i in range(12)} and not set(parts[0]) & set(parts[1])
    assert len({found.train.fingerprint for found in (sets, drawn, captions(data_dir))}) == 3


@pytest.mark.parametrize(
    ("config", "error", "message"),
    [
        (
            {"text_field": "captions/said"},
            DataError,
            "no feature 'captions/said'; it has captions, .* Set data.text_field",
        ),
        (
            {"text_field": "captions/id"},
            DataError,
            r"\[train\], example \d+: 'captions/id' must be a text or a list",
        ),
        ({"tfds_split": "dev"}, DataError, "has no split 'dev', or nothing in it; it has train, validation"),
        ({"tfds_name": ""}, ConfigError, "data.tfds_name is empty"),
        ({"views": ("a", "b")}, ConfigError, "does not go with data.source='tfds'"),
        ({"source": "files"}, ConfigError, "go with data.source='tfds' alone"),
    ],
)
def test_texts_that_cannot_be_read(data_dir, config, error, message):
    with pytest.raises(error, match=message):
        captions(data_dir, **config)


def test_fingerprints(data_dir):
    splits = ["train", "train[:50%]", "test"]
    sources = [TensorFlowDataset("tiny_texts", split, data_dir) for split in splits]
    sources.append(TensorFlowDataset("tiny_texts", "train", data_dir, text_field="number"))
    assert len({source.fingerprint for source in sources}) == 4
    assert sources[0].fingerprint == TensorFlowDataset("tiny_texts", "train", data_dir).fingerprint


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "no_such_thing"}, "TFDS knows no dataset 'no_such_thing' in .*: Dataset no_such_thing not found."),
        (
            {"name": "lm1b"},
            "'lm1b' is not prepared in .*; prepare it with `tfds build lm1b --file_format=array_record --data_dir=",
        ),
        ({"split": "dev"}, "the dataset 'tiny_texts' has no split 'dev', or nothing in it; it has train, test."),
        ({"text_field": "body"}, r"tiny_texts\[train\], example 0 has no field 'body'; it has number, text. Set data.text_field"),
        ({"text_field": "number"}, "the field 'number' of .*example 0 holds int, not text; set data.text_field to another."),
        ({"split": "test[:0]"}, "the dataset 'tiny_texts' has no split 'test\\[:0\\]', or nothing in it; it has train, test."),
    ],
)
def test_datasets_that_cannot_be_read(data_dir, options, message):
    with pytest.raises(DataError, match=message):
        list(TensorFlowDataset(**{"name": "tiny_texts", "split": "train", "data_dir": data_dir, **options}))
