"""The plan that packs pairs of a source and a target into rows with a length for either side."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

OPEN_ROWS = 512  # with room left that are looked through for each pair


@dataclass(frozen=True, eq=False)
class PairPlan:
    """Which pairs each row holds. Pairs are listed row after row.

    Attributes:
        row_offsets: [rows + 1], row r holds `pairs[row_offsets[r] : row_offsets[r + 1]]`; no row is empty.
        pairs: the pairs' numbers.
    """

    row_offsets: Int[np.ndarray, " boundaries"]
    pairs: Int[np.ndarray, " pairs"]

    @property
    def num_rows(self) -> int:
        return len(self.row_offsets) - 1


def one_pair_a_row(pairs: Int[np.ndarray, " pairs"]) -> PairPlan:
    """Each of the pairs alone, in order."""
    return PairPlan(np.arange(len(pairs) + 1), pairs)


def pack_pairs(
    pairs: Int[np.ndarray, " pairs"],
    sizes: Int[np.ndarray, "pairs 2"],
    room: tuple[int, int],
    seed: int | None,
) -> PairPlan:
    """Best-fit-decreasing packing in two dimensions: the largest pair first, each into the row that it leaves the least room in.

    Args:
        pairs: their numbers.
        sizes: tokens of the source and of the target of each, none more than `room`.
        room: tokens that a row holds on either side.
        seed: decides which of several pairs of equal size goes where; None takes them in order.
    """
    share = sizes / np.array(room)
    order = np.arange(len(pairs)) if seed is None else np.random.default_rng(seed).permutation(len(pairs))
    order = order[np.argsort(-share[order].max(axis=1), kind="stable")]
    least = share.min(axis=0)  # a row with less room than this on a side is closed
    row_of = np.empty(len(pairs), np.int64)
    open_rows, left = np.zeros(0, np.int64), np.zeros((0, 2))
    num_rows = 0
    for pair in order.tolist():
        remaining = left - share[pair]
        # Shares of whole tokens, so that rounding is far below one of them.
        fits = (remaining > -1e-9).all(axis=1)
        if fits.any():
            place = int(np.where(fits, remaining.sum(axis=1), np.inf).argmin())
            left[place] = remaining[place]
        else:
            if len(open_rows) >= OPEN_ROWS:
                useful = (left > least - 1e-9).all(axis=1)
                keep = np.argsort(np.where(useful, -left.min(axis=1), np.inf), kind="stable")[: OPEN_ROWS // 2]
                open_rows, left = open_rows[keep], left[keep]
            place = len(open_rows)
            open_rows, left = np.append(open_rows, num_rows), np.vstack([left, 1 - share[pair]])
            num_rows += 1
        row_of[pair] = open_rows[place]
    by_row = np.lexsort((np.arange(len(pairs)), row_of))
    offsets = np.concatenate([[0], np.cumsum(np.bincount(row_of, minlength=num_rows))]).astype(np.int64)
    return PairPlan(offsets, pairs[by_row])
