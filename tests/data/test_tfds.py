"""TFDS data sets in array_record files are made and read without TensorFlow."""

import os
import subprocess
import sys
import textwrap

import pytest

from genjax.data.sources.tfds import TensorFlowDataset
from genjax.errors import DataError

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

    TinyTexts(data_dir=sys.argv[1], file_format="array_record").download_and_prepare()
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
