"""From a config section to datasets: the figures of a known text, every option, every refusal."""

import gzip
import json
import re

import numpy as np
import pytest

import genjax.data
from genjax.data.sources.text_files import TextFiles
from genjax.data.split import split
from genjax.data.text import _sample
from genjax.data.tokenizers.byte import ByteTokenizer
from genjax.errors import ConfigError, DataError

WORDS = "the quick brown fox jumps over lazy dogs while seven wizards make toxic brew for evil kings and jacks".split()
LINES = [f"{WORDS[i % 19]} {WORDS[i * 7 % 17]} number {i}\n" for i in range(400)]


@pytest.fixture
def text_file(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("".join(LINES))
    return path


def build(path, seed=0, cache_dir=None, **options):
    return genjax.data.build(
        {"path": str(path), "batch_size": 4, "sequence_length": 32} | options, seed=seed, cache_dir=cache_dir
    )


def all_targets(dataset):
    batches = list(dataset.iterate())
    return np.concatenate([batch["targets"][batch["loss_mask"] == 1] for batch in batches])


def test_tiny_shakespeare_by_character(data_folder):
    section = {"mode": "window", "tokenizer": {"name": "character"}, "sequence_length": 64, "batch_size": 12}
    datasets = build(data_folder / "tinyshakespeare.txt", **section)
    assert datasets.train.info.vocab_size == 65
    assert (datasets.train.info.num_tokens, datasets.evaluation.info.num_tokens) == (1_003_854, 111_540)
    assert datasets.evaluation.num_batches == 146  # 111,539 predictions in rows of 64, 12 rows a batch
    tokenizer = datasets.train.info.tokenizer
    text = (data_folder / "tinyshakespeare.txt").read_text()
    assert tokenizer.characters == "".join(sorted(set(text)))
    assert tokenizer.decode(all_targets(datasets.evaluation)) == text[1_003_855:]
    batch = datasets.train.batch(0)
    row = tokenizer.decode(batch["tokens"][0]) + tokenizer.decode(batch["targets"][0])[-1]
    assert row in text[:1_003_854]


@pytest.mark.parametrize(
    "tokenizer",
    [
        {"name": "byte"},
        {"name": "character"},
        {"name": "character", "add_eos": True},
        {"name": "sentencepiece", "vocab_size": 300},
        {"name": "sentencepiece", "vocab_size": 300, "model_type": "bpe"},
        {"name": "bpe", "vocab_size": 300},
    ],
)
@pytest.mark.parametrize("mode", ["pack", "window"])
def test_every_tokenizer_in_every_mode(text_file, tokenizer, mode, tmp_path):
    datasets = build(text_file, tokenizer=tokenizer, mode=mode, document_separator="\n", cache_dir=tmp_path / "cache")
    again = build(text_file, tokenizer=tokenizer, mode=mode, document_separator="\n", cache_dir=tmp_path / "cache")
    assert again.train.fingerprint == datasets.train.fingerprint
    info = datasets.evaluation.info
    assert info.tokenizer.vocab_size == info.vocab_size
    targets = all_targets(datasets.evaluation)
    assert len(targets) == info.num_predictions
    separated = info.tokenizer.eos_id is not None
    assert info.num_documents > 10 and (np.sum(targets == info.tokenizer.eos_id) == info.num_documents) == separated
    if separated:  # all text is predicted: held-out bits per byte counts every byte
        assert info.tokenizer.token_bytes[targets].sum() == info.num_bytes
    assert datasets.train.info.num_documents + info.num_documents == len(LINES)
    assert 0 < info.fill <= 1


def test_the_last_tenth_of_a_single_text_is_held_out(text_file):
    text = text_file.read_text()
    datasets = build(text_file, mode="window")
    cut = int(len(text) * 0.9)
    tokenizer = ByteTokenizer()
    assert tokenizer.decode(all_targets(datasets.evaluation)) == text[cut:]
    assert datasets.train.info.num_bytes == cut
    assert build(text_file, evaluation_fraction=0.0).evaluation is None


@pytest.mark.parametrize("source", ["files", "jsonl"])
def test_held_out_text_from_another_place(tmp_path, source):
    def write(name, texts):
        lines = [json.dumps({"body": text}) for text in texts] if source == "jsonl" else ["".join(texts)]
        (tmp_path / name).write_bytes(gzip.compress("\n".join(lines).encode()))
        return str(tmp_path / name)

    train, evaluation = write("train.gz", LINES), write("evaluation.gz", ["gamma\n", "übrig"])
    options = {"source": source, "text_field": "body", "evaluation_path": evaluation, "tokenizer": {"name": "character"}}
    datasets = build(train, **options)
    assert datasets.train.info.num_bytes == len("".join(LINES))
    assert datasets.evaluation.info.num_documents == (2 if source == "jsonl" else 1)
    assert {"ü", "g", "5"} <= set(datasets.train.info.tokenizer.characters)


def test_a_tokenizer_from_a_folder(text_file, tmp_path):
    build(text_file, tokenizer={"name": "bpe", "vocab_size": 300}).train.info.tokenizer.save(tmp_path / "t")
    for name in ("bpe", "pretrained"):
        datasets = build(text_file, tokenizer={"name": name, "path": str(tmp_path / "t")})
        assert datasets.train.info.vocab_size == 300
    with pytest.raises(ConfigError, match="holds a bpe tokenizer, but data.tokenizer.name is 'byte'; set the name to 'bpe'"):
        build(text_file, tokenizer={"name": "byte", "path": str(tmp_path / "t")})


def test_tokenizers_see_a_part_of_a_long_corpus_evenly_taken(tmp_path):
    (tmp_path / "long.txt").write_text("".join(f"{i:09d}\n" for i in range(100_000)))
    source = TextFiles(str(tmp_path / "long.txt"))
    parts = split(source, 0.0)
    blocks = list(_sample(parts, source, 200_000))
    assert 190_000 <= sum(map(len, blocks)) <= 210_000
    places = np.array([int(block[:9]) for block in blocks])
    assert set(np.diff(places)) == {5000} and places[-1] > 90_000
    assert "".join(_sample(parts, source, 10**9)) == (tmp_path / "long.txt").read_text()


def test_the_standard_library_is_the_source_that_needs_nothing():
    datasets = genjax.data.build({"source": "stdlib", "batch_size": 2, "sequence_length": 128}, seed=0, cache_dir=None)
    info = datasets.train.info
    assert info.num_documents > 300 and info.num_bytes > 5_000_000 and info.fill > 0.99
    share = datasets.evaluation.info.num_bytes / (info.num_bytes + datasets.evaluation.info.num_bytes)
    assert 0.02 < share < 0.3
    assert f"{info.num_documents:,} documents" in str(info) and "% filled" in str(info)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sequence_lenght": 3}, "unknown key config.data.sequence_lenght; did you mean config.data.sequence_length?"),
        ({"name": "txt"}, "data.name 'txt' is not known; did you mean 'text'? Known: captioned_shapes, code, "),
        ({"mode": "packed"}, "config.data.mode is 'packed'; did you mean 'pack'?"),
        ({"source": "file"}, "config.data.source is 'file'; did you mean 'files'?"),
        ({"tokenizer": {"name": "charakter"}}, "config.data.tokenizer.name is 'charakter'; did you mean 'character'?"),
        ({"tokenizer": {"name": "pretrained"}}, "data.tokenizer.path is empty; give it a folder or file."),
        ({"tokenizer": {"vocab_size": -1}}, "data.tokenizer.vocab_size is -1; it must be positive, or 0 for the default."),
        ({"tokenizer": {"train_characters": 0}}, "data.tokenizer.train_characters is 0; it must be positive."),
        ({"batch_size": 0}, "data.batch_size is 0; it must be 1 or more."),
        ({"batch_size": "8"}, "config.data.batch_size must be a whole number, but is '8' (str)."),
        ({"sequence_length": 0}, "data.sequence_length is 0; it must be 1 or more."),
        ({"num_threads": -1}, "data.num_threads is -1; it must be 0 or more."),
        ({"evaluation_fraction": 1.0}, "data.evaluation_fraction is 1.0; it must be at least 0 and below 1."),
        ({"source": "tfds"}, "data.source is 'tfds', but data.tfds_name is empty; name the dataset, for example 'lm1b'."),
        ({"source": "stdlib", "evaluation_path": "x"}, "data.evaluation_path does not go with data.source='stdlib'"),
        ({"evaluation_tfds_split": "test"}, "data.evaluation_tfds_split does not go with data.source='files'; use"),
    ],
)
def test_configs_that_are_refused(text_file, options, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        build(text_file, **options)


@pytest.mark.parametrize("mode", ["pack", "window"])
def test_a_sequence_longer_than_the_corpus(text_file, mode):
    tokens = int(len(text_file.read_text()) * 0.9) + 2
    message = (
        f"data.sequence_length 9000 is longer than the training text, which has {tokens:,} tokens ({tokens - 1:,} to predict); "
    )
    with pytest.raises(DataError, match=re.escape(message + f"use {tokens - 1} or less, or more text.")):
        build(text_file, mode=mode, sequence_length=9000)
    longest = build(text_file, mode=mode, sequence_length=tokens - 1).train
    assert longest.info.num_rows == 1 and longest.batch(3)["loss_mask"].all()


def test_too_little_text(tmp_path):
    (tmp_path / "a.txt").write_text("ab")
    with pytest.raises(DataError, match="the training text has 1 tokens and nothing to predict; use more text, or another"):
        build(tmp_path / "a.txt", sequence_length=1, evaluation_fraction=0.5, tokenizer={"name": "character"})
    with pytest.raises(DataError, match="a.txtt does not exist; did you mean .*a.txt?"):
        build(tmp_path / "a.txtt")
