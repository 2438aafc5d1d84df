"""CLIP's tokenizer: the ids of transformers' CLIPTokenizer, OpenAI's cleaning and rows, and files both ways."""

import gzip
import importlib.util
import pickle
from pathlib import Path

import numpy as np
import pytest
import transformers

from genjax.data.tokenizers.bpe import byte_characters
from genjax.data.tokenizers.clip_bpe import END, START, holds_clip, load_clip
from genjax.data.tokenizers.load import load_tokenizer
from genjax.errors import ConfigError, DataError

MERGES = ("t h", "th e</w>", "c a", "ca t</w>", "p h", "ph o", "pho t", "phot o</w>", "' s</w>", "i n", "in g</w>", "Ã ©</w>")
TEXTS = (
    "A photo of the CAT",
    "  the\tcat's\n\n photo , thinking!!  ",
    "123 cats & dogs?",
    "Café, cafe\u0301; naïve Straße — ΑΒΓ 中文 🙂🙂",
    "it's they'll I'd we've don't",
    "a_b-c (d) [e] {f}",
    "",
    "x" * 300,
)


@pytest.fixture(scope="module")
def simple_vocab(tmp_path_factory):
    """A file in the form of OpenAI's bpe_simple_vocab_16e6.txt.gz."""
    path = tmp_path_factory.mktemp("clip") / "vocab.txt.gz"
    path.write_bytes(gzip.compress(b'"bpe_simple_vocab"\n' + "\n".join(MERGES).encode() + b"\n"))
    return path


def test_ids_and_rows_are_those_of_transformers(simple_vocab, tmp_path):
    ours = load_clip(simple_vocab)
    ours.save(tmp_path)
    whole = transformers.CLIPTokenizer.from_pretrained(tmp_path)
    (tmp_path / "tokenizer.json").unlink()  # from here on of our files only the vocabulary and the merges
    theirs = transformers.CLIPTokenizer.from_pretrained(tmp_path)
    assert (ours.bos_id, ours.eos_id, ours.vocab_size) == (theirs.bos_token_id, theirs.eos_token_id, len(theirs))
    expected = theirs(list(TEXTS), padding="max_length", truncation=True, max_length=77)["input_ids"]
    np.testing.assert_array_equal(ours.rows(TEXTS, pad_with_end=True), expected)
    for text in TEXTS:
        assert ours.encode(text).tolist() == theirs(text, add_special_tokens=False)["input_ids"]
        assert whole(text)["input_ids"] == theirs(text)["input_ids"]


def test_vocabulary_is_laid_out_as_openai_does(simple_vocab):
    """256 bytes, the same as word ends, the merges, start and end."""
    tokenizer = load_clip(simple_vocab)
    assert tokenizer.vocab_size == 512 + len(MERGES) + 2
    first = list(byte_characters().values())
    assert tokenizer.encode("the cat").tolist() == [512 + MERGES.index("th e</w>"), 512 + MERGES.index("ca t</w>")]
    assert tokenizer.encode("bx").tolist() == [first.index("b"), 256 + first.index("x")]
    assert (tokenizer.token_id(START), tokenizer.token_id(END)) == (tokenizer.vocab_size - 2, tokenizer.vocab_size - 1)


def test_text_is_cleaned_as_openai_does(simple_vocab):
    tokenizer = load_clip(simple_vocab)
    for dirty in (" The  CAT &amp;amp; thing ", "the cat & thing", "the&nbsp;cat\n&#38; thing"):
        np.testing.assert_array_equal(tokenizer.encode(dirty), tokenizer.encode("the cat & thing"))
    raw = load_clip(simple_vocab, unescape=False)
    assert raw.decode(raw.encode("&amp;")) == "& amp ;"
    assert raw.fingerprint != tokenizer.fingerprint


def test_mended_text_needs_ftfy(simple_vocab):
    tokenizer = load_clip(simple_vocab, fix_text=True)
    if importlib.util.find_spec("ftfy"):
        assert tokenizer.decode(tokenizer.encode("schÃ¶n")) == "schön"
    else:
        with pytest.raises(ConfigError, match="fix_text needs the package ftfy"):
            tokenizer.encode("a")


def test_rows_are_cut_and_padded(simple_vocab):
    tokenizer = load_clip(simple_vocab)
    rows = tokenizer.rows(["the cat", "a " * 100], length=6)
    start, end = tokenizer.bos_id, tokenizer.eos_id
    the, cat, a = (int(i) for i in tokenizer.encode("the cat a"))
    assert rows.tolist() == [[start, the, cat, end, 0, 0], [start, a, a, a, a, end]]
    with pytest.raises(ConfigError, match="no room for the start and end tokens"):
        tokenizer.rows(["a"], length=1)


def test_a_special_in_a_text_is_text(simple_vocab):
    tokenizer = load_clip(simple_vocab)
    ids = tokenizer.encode(f"a {END} b")
    assert not {tokenizer.bos_id, tokenizer.eos_id} & set(ids.tolist())
    assert tokenizer.decode(ids) == "a <| endoftext |> b"


def test_decoding_gives_bytes_token_by_token(simple_vocab):
    tokenizer = load_clip(simple_vocab)
    ids = tokenizer.encode("The Café's 🙂")
    assert tokenizer.decode([tokenizer.bos_id, *ids, tokenizer.eos_id]) == "the café 's 🙂"
    assert b"".join(tokenizer.decode_bytes([i]) for i in ids) == tokenizer.decode_bytes(ids)
    assert tokenizer.token_bytes[ids].sum() == len(tokenizer.decode_bytes(ids))


@pytest.mark.parametrize("kept", ["tokenizer.json", "vocab.json and merges.txt", "genjax_tokenizer.json and tokenizer.json"])
def test_files_are_read_back(simple_vocab, tmp_path, kept):
    tokenizer = load_clip(simple_vocab)
    tokenizer.save(tmp_path)
    for path in tmp_path.iterdir():
        if path.name not in kept:
            path.unlink()
    again = load_tokenizer(tmp_path)
    for text in TEXTS:
        np.testing.assert_array_equal(again.encode(text), tokenizer.encode(text))
    assert pickle.loads(pickle.dumps(again)) == again


def test_other_files_are_refused(tmp_path):
    (tmp_path / "tokenizer.json").write_text('{"model": {"type": "BPE", "vocab": {}}}')
    assert not holds_clip(tmp_path / "tokenizer.json")
    with pytest.raises(DataError, match="no tokenizer of CLIP"):
        load_clip(tmp_path)
    with pytest.raises(DataError, match="not a readable list of merges"):
        load_clip(Path(tmp_path / "absent.txt.gz"))


def test_a_config_may_name_openais_file(simple_vocab):
    assert load_tokenizer(simple_vocab).fingerprint == load_clip(simple_vocab).fingerprint
