"""BPE for code: every run of whitespace is one token, other text is split where it should be, and nothing is lost."""

import inspect
import re
import textwrap

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genjax.data.tokenizers import bpe
from genjax.data.tokenizers.bpe_training import RUNS, add_fim_tokens, run_merges, train_bpe
from genjax.data.tokenizers.fim import FIM_TOKENS, find_sentinels
from genjax.errors import ConfigError

# Tabs, runs and blank lines of every kind, so that training has every chance to learn runs of its own.
CORPUS = [
    inspect.getsource(textwrap),
    "\tif x:\n\t\treturn  x   # two,    four\n\n\n" * 50,
    "naïve \u00a0 café — «oui»  \n \t mixed\t \t\n        deep\r\n\r\n" * 30,
]
WHITESPACE = st.text(alphabet=" \t\n", max_size=80)
TEXTS = st.one_of(
    st.text(),
    st.text(alphabet="ab_1 \t\n\r\u00a0\x0b.('", max_size=120),
    st.lists(st.tuples(WHITESPACE, st.sampled_from(["x", "return", "# é", "(", "\u2581", "12345", "'self'"])), max_size=6).map(
        lambda pairs: "".join(a + b for a, b in pairs)
    ),
    st.sampled_from(["<|endoftext|>", "<fim_prefix>a<fim_suffix>", "\r\n\r", "\0", "e\u0301", "  "]),
)


@pytest.fixture(scope="module")
def tokenizer():
    return train_bpe(CORPUS, 520, "code", fim_tokens=True)


@pytest.mark.parametrize("character", RUNS)
def test_every_run_is_one_token_and_a_longer_one_as_few_as_can_be(tokenizer, character):
    longest = RUNS[character]
    for length in range(1, 4 * longest):
        ids = tokenizer.encode(character * length)
        assert tokenizer.token_bytes[ids].tolist() == [longest] * (length // longest) + [length % longest] * (
            length % longest > 0
        )


@pytest.mark.parametrize("character", RUNS)
def test_indentation_is_one_token_beside_the_word(tokenizer, character):
    """The last space belongs to the word after it, as in every line of code."""
    for length in range(2, RUNS[character] + 2):
        pieces = [tokenizer.decode([i]) for i in tokenizer.encode(f"\n{character * length}return")]
        assert pieces[:2] == ["\n", character * (length - 1)] and pieces[2][0] == character
        ended = [tokenizer.decode([i]) for i in tokenizer.encode(f"x{character * (length - 1)}")]
        assert ended == ["x", character * (length - 1)]


@settings(max_examples=200, deadline=None)
@given(text=WHITESPACE)
def test_mixed_whitespace_is_cut_into_the_fewest_runs(tokenizer, text):
    runs = re.findall(r" +|\t+", text)
    least = sum(-(-len(run) // RUNS[run[0]]) for run in runs)
    ids = tokenizer.encode(text)
    assert len(ids) <= least + text.count("\n") and tokenizer.decode(ids) == text


@settings(max_examples=300, deadline=None)
@given(text=TEXTS)
def test_every_text_comes_back(tokenizer, text):
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text and tokenizer.decode_bytes(ids) == text.encode()
    assert tokenizer.token_bytes[ids].sum() == len(text.encode())
    assert not set(ids.tolist()) & set(range(5))  # the names of specials are text


@settings(max_examples=200, deadline=None)
@given(
    content=st.one_of(
        st.binary(), st.lists(st.sampled_from([b"\xff", b"\xc3", b"\xed\xa0\x80", b"  x", "é".encode()])).map(b"".join)
    )
)
def test_every_sequence_of_bytes_comes_back(tokenizer, content):
    ids = tokenizer.encode_bytes(content)
    assert ids.dtype == np.int32 and tokenizer.decode_bytes(ids) == content


@settings(max_examples=150, deadline=None)
@given(texts=st.lists(TEXTS, min_size=1, max_size=8))
def test_a_long_text_in_parts_is_encoded_as_it_is_whole(tokenizer, texts):
    text = "\n".join([*texts, "def f():\n    return 1\nx = {\n}\n"] * 3)
    whole = tokenizer._tokenizer.encode(text, add_special_tokens=False).ids
    assert tokenizer._splits_at_lines
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bpe, "LONG", 8)
        assert len(list(bpe._parts(text))) > 3
        assert tokenizer.encode(text).tolist() == whole


def test_words_of_code(tokenizer):
    """What no merge may cross: 'self' in quotes is not cut as an English contraction would be, and numbers are cut by threes."""
    split = tokenizer._tokenizer.pre_tokenizer.pre_tokenize_str
    words = [word for word, _ in split("self.x_1 = 'self'[12345]:\n\n        y")]
    assert words == ["self", ".x", "_", "1", "Ġ=", "Ġ'", "self", "'[", "123", "45", "]:ĊĊ", "Ġ" * 7, "Ġy"]


def test_run_merges_are_a_token_for_each_length():
    made = ["".join(pair) for pair in run_merges()]
    assert sorted(len(m) for m in made if m[0] == "Ġ") == list(range(2, 33))
    assert sorted(len(m) for m in made if m[0] == "ĉ") == list(range(2, 9))


def test_ids_and_size(tokenizer):
    names = ["<|endoftext|>", *FIM_TOKENS]
    assert [tokenizer.token_id(name) for name in names] == [0, 1, 2, 3, 4]
    assert tokenizer.token_id("return") is None and tokenizer.token_id("nothing") is None
    assert tokenizer.vocab_size == 520 and (tokenizer.bos_id, tokenizer.eos_id) == (0, 0)
    assert all(tokenizer.token_bytes[i] == 0 and tokenizer.decode([i]) == "" for i in range(5))
    assert train_bpe(CORPUS, 520, "code", fim_tokens=True) == tokenizer
    assert len({train_bpe(CORPUS, 520, words, fim).fingerprint for words in ("gpt2", "code") for fim in (False, True)}) == 4


def test_training_learns_no_other_runs(tokenizer):
    pieces = [tokenizer.decode_bytes([i]) for i in range(tokenizer.vocab_size)]
    runs = [piece for piece in pieces if re.search(rb"[ \t]{2}", piece)]
    assert len(runs) == 31 + 7 and all(len(set(run)) == 1 for run in runs)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("gpt2", False), "is 250, but byte-level BPE needs at least 257 (256 bytes, 1 special)."),
        (("gpt2", True), "needs at least 261 (256 bytes, 5 specials)."),
        (("code", True), "needs at least 299 (256 bytes, 5 specials, 38 runs)."),
    ],
)
def test_vocabularies_that_are_too_small(options, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        train_bpe(CORPUS, 250, *options)
    smallest = int(message.split("least ")[1].split()[0])
    assert train_bpe(CORPUS, smallest, *options).vocab_size == smallest


def test_sentinels_added_to_a_finished_tokenizer():
    plain = train_bpe(CORPUS, 400)
    assert find_sentinels(plain) is None
    made = add_fim_tokens(plain)
    sentinels = find_sentinels(made)
    assert (sentinels.prefix, sentinels.middle, sentinels.suffix, sentinels.pad) == (400, 401, 402, 403)
    assert made.vocab_size == 404 and made.eos_id == plain.eos_id
    text = "def f(x):\n    return '<fim_prefix>'\n"
    assert made.encode(text).tolist() == plain.encode(text).tolist()
