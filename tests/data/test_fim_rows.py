"""Rewritten pieces: the same text in another order, where it was, and everything else untouched."""

import dataclasses
import inspect
import pickle
import re
import textwrap
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import genjax.data
from genjax.data.corpus import tokenize
from genjax.data.fim_rows import FimConfig, FimRows, check_fim, piece_bounds
from genjax.data.packing import plan_rows
from genjax.data.rows import PackedRows, WindowRows
from genjax.data.tokenizers.bpe_training import train_bpe
from genjax.data.tokenizers.byte import ByteTokenizer
from genjax.data.tokenizers.character import train_character
from genjax.data.tokenizers.fim import find_sentinels
from genjax.errors import ConfigError

SOURCE = inspect.getsource(textwrap)
CODE = train_bpe([SOURCE, "naïve — «x» 日本語 😀\n\t\ty\n" * 30], 400, "code", fim_tokens=True)
TOKENIZERS = {
    "byte": ByteTokenizer(fim_tokens=True),
    "code": CODE,
    "two ends": dataclasses.replace(CODE, eos_id=4),  # bos before and another token after a document, as with Llama
    "no bos": dataclasses.replace(CODE, bos_id=None, eos_id=4),
}
TEXTS = st.lists(
    st.one_of(
        st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60),
        st.text(alphabet="ab_ \n\té日😀(", min_size=1, max_size=80),
        st.integers(0, len(SOURCE) - 200).flatmap(lambda a: st.integers(1, 200).map(lambda n: SOURCE[a : a + n])),
    ),
    min_size=1,
    max_size=6,
)


def make_rows(texts, tokenizer, mode, length, continue_positions=False):
    corpus = tokenize(texts, 0, tokenizer, None, "train")
    if mode == "window":
        return WindowRows(corpus, length, seed=0)
    return PackedRows(corpus, plan_rows(corpus.offsets[:-1], corpus.lengths, length, 0), length, continue_positions)


def fetch(rows, epoch=0):
    return rows.fetch(np.full(rows.num_rows, epoch), np.arange(rows.num_rows))


def parts_of(sequence, tokenizer):
    """(order, prefix, middle, suffix in bytes), read off the format of the paper."""
    s, sequence = find_sentinels(tokenizer), list(sequence)
    assert sequence[-1] == tokenizer.eos_id
    assert [sequence.count(i) for i in (s.prefix, s.middle, s.suffix)] == [1, 1, 1]
    if sequence[0] == tokenizer.bos_id:
        sequence = sequence[1:]
    assert sequence[0] == s.prefix
    middle, suffix = sequence.index(s.middle), sequence.index(s.suffix)
    assert suffix < middle
    first, second, third = sequence[1:suffix], sequence[suffix + 1 : middle], sequence[middle + 1 : -1]
    assert not {tokenizer.bos_id, tokenizer.eos_id} & {*first, *second, *third}
    return suffix == 1, *(tokenizer.decode_bytes(part) for part in (first, second, third))


@pytest.mark.parametrize("name", TOKENIZERS)
@pytest.mark.parametrize("mode", ["pack", "window"])
@settings(max_examples=150, deadline=None)
@given(
    texts=TEXTS,
    length=st.integers(3, 60),
    seed=st.integers(0, 3),
    rate=st.sampled_from([0.3, 1.0]),
    spm_rate=st.sampled_from([0.0, 0.5, 1.0]),
    line_rate=st.sampled_from([0.0, 0.5, 1.0]),
    continue_positions=st.booleans(),
)
def test_rewritten_pieces(name, mode, texts, length, seed, rate, spm_rate, line_rate, continue_positions):
    tokenizer = TOKENIZERS[name]
    inner = make_rows(texts, tokenizer, mode, length, continue_positions)
    if mode == "window" and len(inner.corpus.tokens) <= length:
        return
    before = fetch(inner)
    after = fetch(FimRows(inner, tokenizer, FimConfig(rate, spm_rate, line_rate), seed))
    assert {n: (v.shape, v.dtype) for n, v in after.items()} == {n: (v.shape, v.dtype) for n, v in before.items()}
    before, after = ({n: v.reshape(-1) for n, v in batch.items()} for batch in (before, after))
    sentinels = find_sentinels(tokenizer)
    untouched = np.ones(len(before["tokens"]), bool)
    bounds = piece_bounds(*(before[n].reshape(-1, length) for n in ("tokens", "segment_ids")), tokenizer.bos_id, tokenizer.eos_id)
    for start, end in zip(*bounds, strict=True):
        old = [*before["tokens"][start:end], before["targets"][end - 1]]
        text = tokenizer.decode_bytes(old)
        used = start + int((after["segment_ids"][start:end] > 0).sum())
        rewritten = sentinels.prefix in after["tokens"][start:end]
        if not rewritten:
            if rate == 1.0:  # only what has no room for a character is left as it was
                assert len(old) - (old[0] == tokenizer.bos_id) - 4 < 1 or not text
            continue
        untouched[start:end] = False
        new = [*after["tokens"][start:used], after["targets"][used - 1]]
        assert (after["targets"][start : used - 1] == after["tokens"][start + 1 : used]).all()
        suffix_first, prefix, second, third = parts_of(new, tokenizer)
        if suffix_first and spm_rate > 0:  # an empty prefix looks alike in both orders
            candidates = [third + second, prefix + third + second]
        else:
            candidates = [prefix + third + second]
        assert any(text.startswith(found) for found in candidates) and len(new) <= len(old)
        if name == "byte":  # nothing is lost but what makes room
            room = len(old) - (old[0] == tokenizer.bos_id) - 4
            assert candidates[0] == text[:room]
        for column in ("segment_ids", "positions"):
            assert (after[column][start:used] == before[column][start:used]).all()
        learned = after["loss_mask"][start:used]
        assert learned[1:].all() and learned[0] == (new[0] != tokenizer.bos_id)
        assert all((values[used:end] == 0).all() for values in after.values())
    assert all((after[n][untouched] == before[n][untouched]).all() for n in before)


def test_a_piece_by_hand():
    """One document, one row: every number of the format."""
    tokenizer = ByteTokenizer(fim_tokens=True)
    inner = make_rows(["abcdefgh"], tokenizer, "pack", 16)
    for seed in range(40):
        batch = {n: v[0] for n, v in fetch(FimRows(inner, tokenizer, FimConfig(1.0, 0.0), seed)).items()}
        row = [*batch["tokens"][:9], batch["targets"][8]]
        low = row.index(259) - 2
        high = low + len(row) - 2 - row.index(258)
        text = list(b"abcde")  # three of eight characters make room for the sentinels
        assert row == [256, 257, *text[:low], 259, *text[high:], 258, *text[low:high], 256]
        assert batch["segment_ids"].tolist() == [1] * 9 + [0] * 7 and batch["positions"][:9].tolist() == list(range(9))
        assert batch["loss_mask"].tolist() == [0] + [1] * 8 + [0] * 7


def test_a_row_is_a_function_of_seed_epoch_and_number():
    tokenizer = TOKENIZERS["code"]
    rows = FimRows(make_rows([SOURCE], tokenizer, "window", 64), tokenizer, FimConfig(), 7)
    whole = fetch(rows, epoch=2)
    again = pickle.loads(pickle.dumps(rows))
    for row in (0, 3, rows.num_rows - 1):
        mixed = again.fetch(np.array([5, 2]), np.array([1, row]))
        assert all((mixed[n][1] == whole[n][row]).all() for n in whole)
    other_seed = fetch(dataclasses.replace(rows, seed=8), epoch=2)
    assert (other_seed["tokens"] != whole["tokens"]).any(axis=1).mean() > 0.5
    packed = make_rows([SOURCE] * 3, tokenizer, "pack", 64)
    first, second = (fetch(FimRows(packed, tokenizer, FimConfig(1.0), 7), epoch) for epoch in (0, 1))
    assert (first["tokens"] != second["tokens"]).any(axis=1).mean() > 0.9


def test_rates_and_cuts_are_drawn_as_said():
    tokenizer = ByteTokenizer(fim_tokens=True)
    text = "".join(chr(33 + i) for i in range(64))
    inner = make_rows([text] * 1500, tokenizer, "pack", 65)
    batch = fetch(FimRows(inner, tokenizer, FimConfig(0.5, 0.25), 0))
    rewritten = batch["tokens"][(batch["tokens"] == 257).any(axis=1)]
    assert abs(len(rewritten) / 1500 - 0.5) < 0.04
    suffix_first = rewritten[:, 2] == 259
    # 61 characters fit, with 62 places to cut. An empty prefix, one cut of two at the first place, looks like SPM.
    assert abs(suffix_first.mean() - (0.25 + 0.75 * 2 / 62)) < 0.05
    psm = rewritten[~suffix_first]
    low = np.argmax(psm == 259, axis=1) - 2
    middle = 65 - np.argmax(psm == 258, axis=1) - 1
    # Of two even cuts the lower is at 1/3 and the upper at 2/3 of the text on average.
    assert abs(low.mean() - 61 / 3) < 2.0 and abs((low + middle).mean() - 2 * 61 / 3) < 2.0
    assert low.min() == 1 and (low + middle).max() == 61 and middle.min() == 0


@pytest.mark.parametrize("spm_rate", [0.0, 1.0])
def test_middles_that_are_lines(spm_rate):
    """Each line that is not blank as often as another, with its indentation and without its line end."""
    tokenizer = ByteTokenizer(fim_tokens=True)
    lines = ["def f(x):", "    y = x", "", "   ", "    # é", "    return y"]
    inner = make_rows(["\n".join(lines) + "\n" * 6] * 1200, tokenizer, "pack", 64)
    batch = fetch(FimRows(inner, tokenizer, FimConfig(1.0, spm_rate, 1.0), 3))
    seen = Counter()
    for tokens, targets, mask in zip(batch["tokens"], batch["targets"], batch["segment_ids"], strict=True):
        used = int(mask.sum())
        suffix_first, *parts = parts_of([*tokens[:used], targets[used - 1]], tokenizer)
        prefix, suffix, middle = (part.decode() for part in parts)
        if suffix_first and prefix == "":  # the prefix stands right before the middle
            begin = middle.rfind("\n") + 1
            prefix, middle = middle[:begin], middle[begin:]
        assert f"{prefix}{middle}{suffix}".rstrip("\n") == "\n".join(lines)  # the text gave way at its end
        seen[middle] += 1
    assert set(seen) == {line for line in lines if line.strip()}
    assert min(seen.values()) > 240  # 300 expected of each, with a deviation of 15
    half = fetch(FimRows(inner, tokenizer, FimConfig(0.5, spm_rate, 0.5), 3))
    plain = fetch(FimRows(inner, tokenizer, FimConfig(0.5, spm_rate), 3))
    assert abs((half["tokens"] == plain["tokens"]).all(axis=1).mean() - 0.75) < 0.05


def test_a_key_that_came_later_leaves_the_fingerprints_of_earlier_runs():
    assert FimConfig(0.9, 1.0).settings == "FimConfig(rate=0.9, spm_rate=1.0)"
    assert FimConfig(0.9, 1.0, 0.5).settings != FimConfig(0.9, 1.0, 0.25).settings != FimConfig(0.9, 1.0).settings


def test_cuts_do_not_break_characters():
    tokenizer = ByteTokenizer(fim_tokens=True)
    inner = make_rows(["日本語é😀" * 8] * 200, tokenizer, "pack", 200)
    batch = fetch(FimRows(inner, tokenizer, FimConfig(1.0), 1))
    for tokens, targets, mask in zip(batch["tokens"], batch["targets"], batch["segment_ids"], strict=True):
        used = int(mask.sum())
        _, *parts = parts_of([*tokens[:used], targets[used - 1]], tokenizer)
        assert sum("\ufffd" in part.decode("utf-8", "replace") for part in parts) <= 1  # the trimmed end of the text


@pytest.mark.parametrize(
    ("tokenizer", "message"),
    [
        (ByteTokenizer(), "data.fim needs a tokenizer with sentinels .<fim_prefix>, <fim_middle>, <fim_suffix> or those of"),
        (train_character([SOURCE], add_eos=True), "this one has none; set data.tokenizer.fim_tokens=True, or data.fim.rate=0"),
        (dataclasses.replace(CODE, bos_id=None, eos_id=None), "data.fim needs a tokenizer with an end-of-text token"),
    ],
)
def test_tokenizers_that_cannot_be_used(tokenizer, message):
    with pytest.raises(ConfigError, match=message):
        check_fim(tokenizer)


@pytest.mark.parametrize("values", [{"rate": 1.1}, {"rate": -0.1}, {"spm_rate": 2.0}, {"line_rate": -1.0}])
def test_rates_beyond_their_range(values):
    name, value = next(iter(values.items()))
    with pytest.raises(ConfigError, match=f"data.fim.{name} is {value}; it must be between 0 and 1."):
        FimConfig(**values)


@pytest.fixture
def build(tmp_path):
    for n in range(8):
        (tmp_path / f"module_{n}.py").write_text(f"# number {n}\n" + SOURCE[n * 400 : n * 400 + 3000])
    section = {"name": "code", "path": str(tmp_path), "batch_size": 4, "sequence_length": 64, "evaluation_fraction": 0.3}
    section |= {"filters": {"must_parse": False}, "duplicates": {"near": "ignore"}}
    tokenizer = {"name": "bpe", "words": "code", "vocab_size": 350, "fim_tokens": True}
    return lambda **options: genjax.data.build(section | {"tokenizer": tokenizer} | options, seed=3, cache_dir=None)


@pytest.mark.parametrize("mode", ["pack", "window"])
def test_the_key_fim_of_a_dataset_of_code(build, mode):
    plain, zero, some = build(mode=mode), build(mode=mode, fim={"rate": 0.0}), build(mode=mode, fim={"rate": 0.9})
    assert plain.train.fingerprint == zero.train.fingerprint != some.train.fingerprint
    assert some.train.fingerprint != build(mode=mode, fim={"rate": 0.9, "spm_rate": 1.0}).train.fingerprint
    prefix = some.train.info.tokenizer.token_id("<fim_prefix>")
    has = {name: [prefix in d.train.batch(k)["tokens"] for k in range(3)] for name, d in {"plain": plain, "some": some}.items()}
    assert has == {"plain": [False] * 3, "some": [True] * 3}
    for k in range(plain.evaluation.num_batches):  # held-out rows are read from left to right
        assert all((plain.evaluation.batch(k)[n] == some.evaluation.batch(k)[n]).all() for n in plain.evaluation.spec)
    resumed = next(some.train.iterate(start=5))
    assert all((resumed[n] == build(mode=mode, fim={"rate": 0.9}).train.batch(5)[n]).all() for n in resumed)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tokenizer": {"name": "byte"}}, "data.fim needs a tokenizer with sentinels (<fim_prefix>, <fim_middle>, <fim_suffix>"),
        ({"tokenizer": {"name": "bpe", "vocab_size": 300}}, "set data.tokenizer.fim_tokens=True, or data.fim.rate=0."),
        ({"fim": {"rate": 1.5}}, "data.fim.rate is 1.5; it must be between 0 and 1."),
        ({"fim": {"rates": 0.5}}, "unknown key config.data.fim.rates; did you mean config.data.fim.rate?"),
        (
            {"tokenizer": {"name": "character", "fim_tokens": True}},
            "data.tokenizer.fim_tokens does not go with data.tokenizer.name",
        ),
    ],
)
def test_configs_that_are_refused(build, options, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        build(**{"fim": {}} | options)
