"""The plan that packs pieces of documents into rows, computed from the documents' lengths alone."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int


@dataclass(frozen=True, eq=False)
class Plan:
    """Which pieces each row holds. Pieces are listed row after row.

    Attributes:
        row_offsets: [rows + 1], row r holds the pieces `row_offsets[r] : row_offsets[r + 1]`.
        starts: [pieces], place in the stream of a piece's first token.
        lengths: [pieces], predictions in a piece, 1 to the row's length.
        depths: [pieces], how far into its document a piece begins.
    """

    row_offsets: Int[np.ndarray, " boundaries"]
    starts: Int[np.ndarray, " pieces"]
    lengths: Int[np.ndarray, " pieces"]
    depths: Int[np.ndarray, " pieces"]

    @property
    def num_rows(self) -> int:
        return len(self.row_offsets) - 1

    @property
    def num_predictions(self) -> int:
        return int(self.lengths.sum(dtype=np.int64))


def plan_rows(
    starts: Int[np.ndarray, " documents"], lengths: Int[np.ndarray, " documents"], row_length: int, seed: int | None
) -> Plan:
    """Cuts documents into pieces of at most `row_length` predictions and packs the pieces by best fit.

    Args:
        starts: place in the stream of each document's first token.
        lengths: tokens of each document; n tokens make n - 1 predictions, so a document of one token has no place in a row.
        seed: decides which of several pieces of equal length goes where; None takes them in order.

    Returns:
        A plan that holds every prediction exactly once. Rows stand in the order of their earliest piece, and pieces in a row too.
    """
    predictions = np.maximum(np.asarray(lengths, np.int64) - 1, 0)
    pieces = -(-predictions // row_length)
    document = np.repeat(np.arange(len(pieces)), pieces)
    depth = (np.arange(len(document)) - np.repeat(np.cumsum(pieces) - pieces, pieces)) * row_length
    length = np.minimum(predictions[document] - depth, row_length)
    start = np.asarray(starts, np.int64)[document] + depth

    row, order = best_fit(length, row_length, seed)
    row = _by_earliest(row, order)
    order = order[np.lexsort((order, row))]
    num_rows = int(row.max(initial=-1)) + 1
    offsets = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=num_rows))]).astype(np.int64)
    return Plan(offsets, start[order], length[order].astype(np.int32), depth[order])


def best_fit(
    lengths: Int[np.ndarray, " pieces"], capacity: int, seed: int | None
) -> tuple[Int[np.ndarray, " pieces"], Int[np.ndarray, " pieces"]]:
    """Best-fit-decreasing bin packing: longest first, each into the fullest row that still has room.

    Pieces of one length are placed together (a row that is best for one stays best for the next until it is full), so the work
    grows with the number of distinct lengths, not of pieces.

    Returns:
        (row of each piece, the piece's index into `lengths`), pieces from the longest to the shortest.
    """
    order = np.arange(len(lengths)) if seed is None else np.random.default_rng(seed).permutation(len(lengths))
    order = order[np.argsort(-lengths[order], kind="stable")]
    rows = np.empty(len(lengths), np.int64)
    counts = np.bincount(lengths, minlength=capacity + 1)
    free = _FreeRows()
    placed = num_rows = 0
    for length in np.flatnonzero(counts)[::-1].tolist():
        left = int(counts[length])
        while left:
            room, candidates = free.take(length)
            if candidates is None:
                room = capacity
                candidates = np.arange(num_rows, num_rows - (-left // (room // length)))
                num_rows += len(candidates)
            each = room // length
            needed = min(len(candidates), -(-left // each))
            used, last = candidates[:needed], min(left, needed * each)
            rows[placed : placed + last] = np.repeat(used, each)[:last]
            free.give(room, candidates[needed:])
            free.give(room - each * length, used[:-1])
            free.give(room - (last - (needed - 1) * each) * length, used[-1:])
            placed, left = placed + last, left - last
    return rows, order


class _FreeRows:
    """Rows with room left, by how much; a bit mask finds the least room that suffices."""

    def __init__(self):
        self.rows: dict[int, list[np.ndarray]] = {}
        self.mask = 0

    def give(self, room: int, rows: np.ndarray) -> None:
        if room and len(rows):
            self.rows.setdefault(room, []).append(rows)
            self.mask |= 1 << room

    def take(self, length: int) -> tuple[int, np.ndarray | None]:
        fitting = self.mask >> length
        if not fitting:
            return 0, None
        room = length + (fitting & -fitting).bit_length() - 1
        self.mask &= ~(1 << room)
        return room, np.concatenate(self.rows.pop(room))


def _by_earliest(row: np.ndarray, piece: np.ndarray) -> np.ndarray:
    """The rows renumbered by their earliest piece."""
    num_rows = int(row.max(initial=-1)) + 1
    earliest = np.full(num_rows, len(piece))
    np.minimum.at(earliest, row, piece)
    rank = np.empty(num_rows, np.int64)
    rank[np.argsort(earliest, kind="stable")] = np.arange(num_rows)
    return rank[row]
