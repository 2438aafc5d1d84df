"""Rows of both modes: targets are next tokens, segments keep to their document, every token is predicted once."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genjax.data.corpus import Corpus
from genjax.data.packing import plan_rows
from genjax.data.rows import PackedRows, WindowRows


def counting_corpus(lengths, overlap):
    """A stream in which every token is its own place, so that a row tells where it comes from."""
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return Corpus(np.arange(offsets[-1] + overlap, dtype=np.uint32), offsets, overlap, 0)


def epoch_rows(rows, epoch=0):
    return rows.fetch(np.full(rows.num_rows, epoch), np.arange(rows.num_rows))


def packed(corpus, length, seed=0, **options):
    return PackedRows(corpus, plan_rows(corpus.offsets[:-1], corpus.lengths, length, seed), length, **options)


@settings(max_examples=150, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=30),
    overlap=st.sampled_from([0, 1]),
    length=st.integers(1, 24),
    seed=st.one_of(st.none(), st.integers(0, 5)),
)
def test_packed_rows(lengths, overlap, length, seed):
    corpus = counting_corpus(lengths, overlap)
    if max(corpus.lengths) < 2:
        return
    batch = epoch_rows(packed(corpus, length, seed))
    mask = batch["loss_mask"] == 1
    assert all(values.dtype == np.int32 and values.shape == mask.shape for values in batch.values())
    assert ((batch["segment_ids"] > 0) == mask).all()
    assert all((values[~mask] == 0).all() for values in batch.values())
    # A target is the next token, and lies in its token's document.
    assert (batch["targets"] == batch["tokens"] + 1)[mask].all()
    document = np.searchsorted(corpus.offsets, np.arange(len(corpus.tokens)), side="right") - 1
    begins = set(corpus.offsets[:-1].tolist())
    crossing = [t for t in batch["targets"][mask].tolist() if t in begins and not overlap]
    assert not crossing
    # Every token of every document is predicted exactly once; a document's first has nothing before it.
    expected = [i for i in range(1, len(corpus.tokens)) if overlap or i not in begins]
    assert sorted(batch["targets"][mask].tolist()) == expected
    # Segments: numbered from 1 without a gap, each a stretch of one document, positions counting from 0.
    for row in range(len(mask)):
        segments = batch["segment_ids"][row][mask[row]]
        assert segments[0] == 1 and set(np.diff(segments).tolist()) <= {0, 1}
        for segment in range(1, segments.max() + 1):
            here = batch["segment_ids"][row] == segment
            assert batch["positions"][row][here].tolist() == list(range(here.sum()))
            assert (np.diff(batch["tokens"][row][here]) == 1).all()
            assert len(set(document[batch["tokens"][row][here]].tolist())) == 1


def test_positions_go_on_through_a_document_when_asked():
    corpus = counting_corpus([11, 3], overlap=0)
    batch = epoch_rows(packed(corpus, 4, None, continue_positions=True))
    pairs = set(
        zip(batch["tokens"][batch["loss_mask"] == 1].tolist(), batch["positions"][batch["loss_mask"] == 1].tolist(), strict=True)
    )
    assert pairs == {(i, i) for i in range(10)} | {(11, 0), (12, 1)}


@settings(max_examples=100, deadline=None)
@given(tokens=st.integers(2, 200), length=st.integers(1, 40), epoch=st.integers(0, 10**6))
def test_training_windows_follow_one_another(tokens, length, epoch):
    if tokens <= length:
        return
    rows = WindowRows(counting_corpus([tokens], 0), length, seed=3)
    batch = epoch_rows(rows, epoch)
    offset = rows.offset(epoch)
    assert 0 <= offset < length
    assert (batch["tokens"].ravel() == offset + np.arange(rows.num_rows * length)).all()
    assert (batch["targets"] == batch["tokens"] + 1).all() and batch["targets"].max() < tokens
    assert (batch["positions"] == np.arange(length)).all()
    assert (batch["segment_ids"] == 1).all() and (batch["loss_mask"] == 1).all()
    assert rows.num_rows * length > tokens - 1 - 2 * length


def test_offsets_of_successive_epochs_come_once_each_before_one_comes_again():
    rows = WindowRows(counting_corpus([1000], 0), 64, seed=0)
    offsets = [rows.offset(epoch) for epoch in range(128)]
    assert sorted(offsets[:64]) == sorted(offsets[64:]) == list(range(64))
    assert offsets[:64] != offsets[64:]
    assert offsets[:64] != [WindowRows(counting_corpus([1000], 0), 64, seed=1).offset(epoch) for epoch in range(64)]


def test_rows_of_two_epochs_in_one_fetch():
    rows = WindowRows(counting_corpus([100], 0), 8, seed=0)
    batch = rows.fetch(np.array([0, 1]), np.array([10, 0]))
    assert batch["tokens"][:, 0].tolist() == [rows.offset(0) + 80, rows.offset(1)]


@settings(max_examples=100, deadline=None)
@given(tokens=st.integers(2, 200), length=st.integers(1, 250))
def test_evaluation_windows_predict_every_token_once(tokens, length):
    rows = WindowRows(counting_corpus([tokens], 0), length, seed=None)
    batch = epoch_rows(rows)
    mask = batch["loss_mask"] == 1
    assert batch["targets"][mask].tolist() == list(range(1, tokens))
    assert (batch["targets"] == batch["tokens"] + 1)[mask].all()
    assert ((batch["segment_ids"] == 1) == mask).all() and (batch["tokens"][~mask] == 0).all()


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32])
def test_large_ids_survive(dtype):
    top = np.iinfo(np.uint16).max if dtype is np.uint16 else 200_000
    corpus = Corpus(np.full(9, top, dtype), np.array([0, 9]), 0, 0)
    assert (epoch_rows(WindowRows(corpus, 4, None))["tokens"].max(axis=1) == top).all()


@pytest.mark.parametrize("overlap", [0, 1])
def test_rows_of_whole_documents_whose_tokens_are_their_own_targets(overlap):
    corpus = counting_corpus([5, 1, 9, 3], overlap)
    plan = plan_rows(corpus.offsets[:-1], corpus.lengths + 1, 8, 0)
    batch = epoch_rows(PackedRows(corpus, plan, 8, shift=0))
    mask = batch["loss_mask"] == 1
    assert (batch["targets"] == batch["tokens"]).all()
    # Every token of every document, its end too; a separator that two documents share is in both.
    expected = [i for d in range(4) for i in range(corpus.offsets[d], corpus.offsets[d + 1] + overlap)]
    assert sorted(batch["tokens"][mask].tolist()) == sorted(expected)
    windows = epoch_rows(WindowRows(corpus, 8, None, shift=0))
    assert (windows["targets"] == windows["tokens"]).all() and windows["loss_mask"].sum() == len(corpus.tokens) - 1
