"""The cache of tokenized text: made once, found again, never half, safe for two at once."""

import os
import subprocess
import sys

import numpy as np
import pytest

import genjax.data
from genjax.data import text, token_cache
from genjax.data.corpus import CHUNK, tokenize
from genjax.data.tokenizers.byte import ByteTokenizer
from genjax.data.tokenizers.sentencepiece import train_sentencepiece
from genjax.errors import DataError


@pytest.fixture
def text_file(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("some text that repeats itself\n" * 100)
    return path


def build(path, folder, **options):
    section = {"path": str(path), "batch_size": 4, "sequence_length": 32, "tokenizer": {"name": "bpe", "vocab_size": 270}}
    return genjax.data.build(section | options, seed=0, cache_dir=folder)


@pytest.fixture
def made(monkeypatch):
    """How many times text was tokenized."""
    calls = []
    original = text._tokenize
    monkeypatch.setattr(text, "_tokenize", lambda *arguments: calls.append(arguments) or original(*arguments))
    return calls


def test_made_once_for_every_shape_of_batch(text_file, tmp_path, made):
    cache = tmp_path / "cache"
    first = build(text_file, cache)
    assert isinstance(first.train.batches.rows.corpus.tokens, np.memmap)
    for options in ({}, {"sequence_length": 16}, {"mode": "window"}, {"batch_size": 2}, {"num_threads": 0}):
        build(text_file, cache, **options)
    assert len(made) == 1
    build(text_file, None, cache_dir=str(cache))  # the config's folder goes before the run's
    assert len(made) == 1
    assert [path.suffix for path in cache.iterdir()].count("") == 1
    same = np.array_equal(first.train.batch(0)["tokens"], build(text_file, None).train.batch(0)["tokens"])
    assert same and len(made) == 2


def test_made_again_when_text_or_tokenizer_changes(text_file, tmp_path, made):
    cache = tmp_path / "cache"
    build(text_file, cache)
    build(text_file, cache, evaluation_fraction=0.2)
    build(text_file, cache, tokenizer={"name": "bpe", "vocab_size": 265})
    build(text_file, cache, document_separator="\n\n")
    text_file.write_text(text_file.read_text() + "!")
    build(text_file, cache)
    assert len(made) == 5
    os.utime(text_file, (1, 1))
    build(text_file, cache)
    assert len(made) == 5


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "train_tokens.npy").write_bytes((folder / "train_tokens.npy").read_bytes()[:-4]),
        lambda folder: (folder / "evaluation_offsets.npy").unlink(),
        lambda folder: (folder / "meta.json").write_text("{"),
        lambda folder: (folder / "tokenizer" / "tokenizer.json").write_text("{}"),
        lambda folder: np.save(folder / "train_tokens.npy", np.zeros(7, np.uint16)),
    ],
)
def test_a_damaged_cache_is_made_again(text_file, tmp_path, made, damage, caplog):
    cache = tmp_path / "cache"
    whole = build(text_file, cache).train.batch(3)
    folder = next(path for path in cache.iterdir() if path.is_dir())
    damage(folder)
    again = build(text_file, cache).train.batch(3)
    assert all(np.array_equal(whole[name], again[name]) for name in whole)
    assert len(made) == 2 and "is damaged" in caplog.text
    build(text_file, cache)
    assert len(made) == 2


def test_an_interrupted_build_leaves_nothing_behind(text_file, tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    cache = tmp_path / "cache"
    monkeypatch.setattr(token_cache, "_write", interrupt)
    with pytest.raises(KeyboardInterrupt):
        build(text_file, cache)
    assert [path.suffix for path in cache.iterdir()] == [".lock"]


def test_a_cache_folder_that_cannot_be_written(text_file, tmp_path):
    (tmp_path / "cache").write_text("a file is in the way")
    with pytest.raises(
        DataError, match="the cache of tokenized text .*cache cannot be written: .*set data.cache_dir to another folder"
    ):
        build(text_file, tmp_path / "cache")


def test_a_full_disk(text_file, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(token_cache, "_write", full)
    with pytest.raises(DataError, match="cannot be written: No space left on device. Free some space"):
        build(text_file, tmp_path / "cache")


ONE_OF_TWO = """
import sys
import genjax.data
from genjax.data import text
original = text._tokenize
def waiting(*arguments):
    print("tokenizing", flush=True)
    sys.stdin.readline()
    return original(*arguments)
text._tokenize = waiting
print("ready", flush=True)
sys.stdin.readline()
section = {"path": sys.argv[1], "batch_size": 4, "sequence_length": 32, "num_threads": 0}
print(genjax.data.build(section, seed=0, cache_dir=sys.argv[2]).train.batch(0)["tokens"].sum())
"""


def test_two_processes_at_once(text_file, tmp_path):
    command = [sys.executable, "-c", ONE_OF_TWO, str(text_file), str(tmp_path / "cache")]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    first, second = (subprocess.Popen(command, text=True, env=environment, **pipes) for _ in range(2))

    def tell(process):
        process.stdin.write("go\n")
        process.stdin.flush()

    assert first.stdout.readline() == second.stdout.readline() == "ready\n"
    tell(first)
    assert first.stdout.readline() == "tokenizing\n"
    tell(second)  # it comes while the first is at work
    tell(first)
    outputs = [process.communicate(timeout=120) for process in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0), outputs
    assert outputs[0][0] == outputs[1][0]  # the batch's sum alone: the second did not tokenize
    assert len([path for path in (tmp_path / "cache").iterdir() if path.is_dir()]) == 1


@pytest.mark.parametrize("folder", [False, True])
def test_the_stream_of_a_corpus(tmp_path, folder):
    texts = ["ab", "é", "", "x" * (CHUNK + 5), "end"]
    place = tmp_path if folder else None
    corpus = tokenize(texts, sum(map(len, texts)), ByteTokenizer(), place, "train")
    assert corpus.overlap == 1 and corpus.num_documents == 5 and corpus.tokens.dtype == np.uint16
    assert corpus.tokens[:8].tolist() == [256, 97, 98, 256, 195, 169, 256, 256]
    assert corpus.lengths.tolist() == [4, 4, 2, CHUNK + 7, 5]
    assert corpus.num_bytes == 2 + 2 + CHUNK + 5 + 3
    for i, text_ in enumerate(texts):
        document = corpus.tokens[corpus.offsets[i] : corpus.offsets[i + 1] + 1]
        assert document[0] == document[-1] == 256 and ByteTokenizer().decode(document) == text_


def test_two_different_ends_frame_every_document():
    texts = ["a line of text\n" * 40, "more words, 12 of them\n" * 40]
    tokenizer = train_sentencepiece(texts, 280)
    corpus = tokenize(texts, 0, tokenizer, None, "train")
    assert corpus.overlap == 0
    for i, text_ in enumerate(texts):
        document = corpus.tokens[corpus.offsets[i] : corpus.offsets[i + 1]]
        assert (document[0], document[-1]) == (tokenizer.bos_id, tokenizer.eos_id)
        assert tokenizer.decode(document) == text_
