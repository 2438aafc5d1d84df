"""Rows of aligned pairs: sources and targets of fixed lengths, several pairs to a row where a plan says so."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from genjax.data.corpus import Corpus
from genjax.data.pair_packing import PairPlan
from genjax.errors import ConfigError

# Of either side: its tokens, segment ids and positions.
NAMES = (
    ("source", "source_segment_ids", "source_positions"),
    ("targets", "target_segment_ids", "target_positions"),
)
Columns = Mapping[str, tuple[tuple[int, ...], np.dtype]]


@dataclass(frozen=True, eq=False)
class Sides:
    """The sources and targets of a corpus of documents in two parts, without the specials that the corpus has around them.

    Attributes:
        tokens: the stream.
        starts, sizes: [pairs, 2], where source and target lie in it.
        eos: stands after each side in a row; `sizes` does not count it.
    """

    tokens: Int[np.ndarray, " length"]
    starts: Int[np.ndarray, "pairs 2"]
    sizes: Int[np.ndarray, "pairs 2"]
    eos: int


def sides_of(corpus: Corpus, bos: int | None, eos: int | None) -> Sides:
    """Raises ConfigError: a tokenizer without an end of text, which a target needs to be able to end."""
    if eos is None:
        raise ConfigError(
            "the tokenizer has no token for the end of a text, which pairs need; set data.tokenizer.add_eos=True (character), "
            "or use sentencepiece or bpe."
        )
    boundaries = corpus.offsets + corpus.overlap
    starts, ends = boundaries[:-1].reshape(-1, 2).copy(), boundaries[1:].reshape(-1, 2).copy()
    starts[:, 0] += bos is not None and not corpus.overlap
    ends[:, 1] -= 1
    return Sides(corpus.tokens, starts, ends - starts, eos)


def pair_columns(source_length: int, target_length: int) -> Columns:
    """`source` and `targets` with their segment ids (numbers of the pairs in the row from 1; 0 is padding) and positions."""
    lengths = (source_length, target_length)
    return {name: ((length,), np.dtype(np.int32)) for names, length in zip(NAMES, lengths, strict=True) for name in names}


@dataclass(frozen=True, eq=False)
class LinePairRows:
    """Every source and every target ends in eos. A row has the pairs that the plan gives it, in one order on both sides."""

    sides: Sides
    plan: PairPlan
    source_length: int
    target_length: int

    @property
    def num_rows(self) -> int:
        return self.plan.num_rows

    @property
    def columns(self) -> Columns:
        return pair_columns(self.source_length, self.target_length)

    def fetch(self, epochs: Int[np.ndarray, " rows"], rows: Int[np.ndarray, " rows"]) -> dict[str, np.ndarray]:
        first, count = self.plan.row_offsets[rows], np.diff(self.plan.row_offsets)[rows]
        row = np.repeat(np.arange(len(rows)), count)  # of each pair, within the batch
        before = np.repeat(np.cumsum(count) - count, count)  # pairs in the rows above
        segment = np.arange(len(row)) - before
        pairs = self.plan.pairs[np.repeat(first, count) + segment]
        batch: dict[str, np.ndarray] = {}
        for side, width in enumerate((self.source_length, self.target_length)):
            values = self._side(side, pairs, row, segment, before, (len(rows), width))
            batch |= zip(NAMES[side], values, strict=True)
        return batch

    def _side(self, side: int, pairs, row, segment, before, shape: tuple[int, int]) -> list[np.ndarray]:
        """Tokens, segment ids and positions of one side."""
        sides = self.sides
        starts, sizes = sides.starts[pairs, side], sides.sizes[pairs, side] + 1
        ends = np.cumsum(sizes)
        column = (ends - sizes) - (ends - sizes)[before]  # where a pair begins in its row
        within = np.arange(ends[-1]) - np.repeat(ends - sizes, sizes)  # of each token, within its pair
        place = np.repeat(row * shape[1] + column, sizes) + within
        tokens = sides.tokens[np.minimum(np.repeat(starts, sizes) + within, len(sides.tokens) - 1)].astype(np.int32)
        tokens[ends - 1] = sides.eos
        result = []
        for values in (tokens, np.repeat(segment + 1, sizes), within):
            flat = np.zeros(shape[0] * shape[1], np.int32)
            flat[place] = values
            result.append(flat.reshape(shape))
        return result
