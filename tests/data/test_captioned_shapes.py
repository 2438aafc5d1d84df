"""Captions of drawn shapes as rows of tokens: they say what is in the picture, and what is held out is never said."""

import numpy as np
import pytest

from genjax import data
from genjax.data.sources import shape_captions, shape_reader, shapes
from genjax.errors import ConfigError

CONFIG = {"name": "captioned_shapes", "batch_size": 32, "num_images": 200, "evaluation_images": 100}


@pytest.fixture(scope="module")
def datasets():
    return data.build(CONFIG, seed=0, cache_dir=None)


def said(dataset, batch):
    tokenizer = dataset.info.tokenizer
    return [
        tokenizer.decode([t for t in row if t not in (tokenizer.bos_id, tokenizer.eos_id)]) for row in batch["tokens"].tolist()
    ]


def test_captions_say_what_is_drawn(datasets):
    batch = datasets.train.batch(0)
    scenes = [shape_captions.parse(text) for text in said(datasets.train, batch)]
    asked = np.array([shapes.label_of(scene) for scene in scenes])
    found = shape_reader.read(batch["image"], 1)
    known = asked != shapes.UNKNOWN
    assert known.mean() > 0.95 and (found == asked)[known].mean() > 0.99


def test_every_epoch_says_it_in_another_way(datasets):
    rows = datasets.train.batches.rows
    first, second = (rows.fetch(np.full(20, epoch), np.arange(20)) for epoch in (0, 1))
    np.testing.assert_array_equal(first["image"], second["image"])
    assert (first["tokens"] != second["tokens"]).any(1).mean() > 0.5


def test_held_out_scenes_are_never_said(datasets):
    names = []
    for dataset in (datasets.train, datasets.evaluation):
        labels = dataset.batches.rows.pictures.labels(np.arange(dataset.batches.rows.num_rows))
        names.append(set(shapes.names_of(labels)))
    assert names[0] and names[1] and not names[0] & names[1]


def test_rows_are_as_the_same_pictures_without_captions(datasets):
    plain = data.build({**CONFIG, "name": "shapes"}, seed=0, cache_dir=None)
    np.testing.assert_array_equal(plain.train.batch(3)["image"], datasets.train.batch(3)["image"])
    assert plain.train.fingerprint != datasets.train.fingerprint
    assert data.describe(CONFIG, datasets.train.info.tokenizer).vocab_size == datasets.train.info.vocab_size


def test_what_cannot_be():
    with pytest.raises(ConfigError, match="data.context_length is 0"):
        data.describe({**CONFIG, "context_length": 0})
