"""From tokens to rows: windows of the stream, or pieces of documents packed together. Any row of any epoch, at once."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from jaxtyping import Int

from genjax.data.corpus import Corpus
from genjax.data.order import shuffled
from genjax.data.packing import Plan


class Rows(Protocol):
    """A dataset's rows before they are put in order.

    Attributes:
        num_rows: rows of an epoch.
        columns: `{name: (shape of one row, dtype)}`.
    """

    @property
    def num_rows(self) -> int: ...

    @property
    def columns(self) -> Mapping[str, tuple[tuple[int, ...], np.dtype]]: ...

    def fetch(self, epochs: Int[np.ndarray, " rows"], rows: Int[np.ndarray, " rows"]) -> dict[str, np.ndarray]:
        """Row `rows[j]` of epoch `epochs[j]` for every j, stacked. A pure function."""


def text_columns(sequence_length: int) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    """tokens, targets (the next token), segment_ids (from 1; 0 is padding), positions, loss_mask (0 or 1)."""
    names = ("tokens", "targets", "segment_ids", "positions", "loss_mask")
    return {name: ((sequence_length,), np.dtype(np.int32)) for name in names}


@dataclass(frozen=True, eq=False)
class WindowRows:
    """The stream cut into windows of `sequence_length` predictions, whatever documents it crosses.

    In training, the windows of an epoch begin at an offset below `sequence_length`; the offsets of successive epochs are a
    permutation drawn from the seed, so that every alignment comes once before one comes again. Up to two windows' worth of
    tokens at the ends of the stream is left out in an epoch. In evaluation (`seed` None) nothing is: the last window is short.

    A place's target is the token `shift` places on: 1 for the next one, 0 for the token itself.
    """

    corpus: Corpus
    sequence_length: int
    seed: int | None
    shift: int = 1

    @cached_property
    def num_rows(self) -> int:
        predictions = len(self.corpus.tokens) - 1
        if self.seed is None:
            return -(-predictions // self.sequence_length)
        return max(1, (predictions + 1 - self.sequence_length) // self.sequence_length)

    @property
    def columns(self) -> Mapping[str, tuple[tuple[int, ...], np.dtype]]:
        return text_columns(self.sequence_length)

    def offset(self, epoch: int) -> int:
        """Where the first window of the epoch begins."""
        if self.seed is None:
            return 0
        slack = len(self.corpus.tokens) - self.num_rows * self.sequence_length
        return int(shuffled(np.array([epoch]), min(self.sequence_length, slack), self.seed)[0])

    def fetch(self, epochs: Int[np.ndarray, " rows"], rows: Int[np.ndarray, " rows"]) -> dict[str, np.ndarray]:
        offsets = {epoch: self.offset(epoch) for epoch in set(epochs.tolist())}
        starts = np.array([offsets[e] for e in epochs.tolist()], np.int64) + rows * self.sequence_length
        index = starts[:, None] + np.arange(self.sequence_length)
        valid = index < len(self.corpus.tokens) - 1
        index = np.where(valid, index, 0)
        tokens, targets = self.corpus.tokens[index], self.corpus.tokens[index + self.shift]
        positions = np.broadcast_to(np.arange(self.sequence_length), index.shape)
        return _masked(tokens, targets, np.ones_like(index), positions, valid)


@dataclass(frozen=True, eq=False)
class PackedRows:
    """Pieces of documents, packed into rows by a plan; no row's target lies in another document.

    A place's target is the token `shift` places on: 1 for the next one, 0 for the token itself. The plan is of as many places.
    """

    corpus: Corpus
    plan: Plan
    sequence_length: int
    continue_positions: bool = False
    shift: int = 1

    @property
    def num_rows(self) -> int:
        return self.plan.num_rows

    @property
    def columns(self) -> Mapping[str, tuple[tuple[int, ...], np.dtype]]:
        return text_columns(self.sequence_length)

    def fetch(self, epochs: Int[np.ndarray, " rows"], rows: Int[np.ndarray, " rows"]) -> dict[str, np.ndarray]:
        plan, length = self.plan, self.sequence_length
        first, count = plan.row_offsets[rows], np.diff(plan.row_offsets)[rows]
        row = np.repeat(np.arange(len(rows)), count)  # of each piece, within the batch
        segment = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
        piece = first[row] + segment
        sizes = plan.lengths[piece].astype(np.int64)
        ends = np.cumsum(sizes)
        column = ends - sizes - np.repeat((ends - sizes)[np.cumsum(count) - count], count)  # where a piece begins in its row
        within = np.arange(ends[-1]) - np.repeat(ends - sizes, sizes)  # of each prediction, within its piece
        place = np.repeat(row * length + column, sizes) + within
        index = np.zeros(len(rows) * length, np.int64)
        segments, positions = np.zeros_like(index), np.zeros_like(index)
        valid = np.zeros(len(index), bool)
        index[place] = np.repeat(plan.starts[piece], sizes) + within
        segments[place] = np.repeat(segment + 1, sizes)
        positions[place] = within + (np.repeat(plan.depths[piece], sizes) if self.continue_positions else 0)
        valid[place] = True
        shape = (len(rows), length)
        index = index.reshape(shape)
        tokens, targets = self.corpus.tokens[index], self.corpus.tokens[index + self.shift]
        return _masked(tokens, targets, segments.reshape(shape), positions.reshape(shape), valid.reshape(shape))


def _masked(tokens, targets, segment_ids, positions, valid) -> dict[str, np.ndarray]:
    columns = {"tokens": tokens, "targets": targets, "segment_ids": segment_ids, "positions": positions}
    batch = {name: np.where(valid, values, 0).astype(np.int32) for name, values in columns.items()}
    return batch | {"loss_mask": valid.astype(np.int32)}
