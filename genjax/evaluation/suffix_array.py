"""Suffix arrays over token ids: the places of a text in the order of what follows them, and the longest runs shared with it."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Int

from genjax.errors import DataError

UNKNOWN = -1  # a query's token that the text does not have
SMALLEST_BLOCK, LARGEST_BLOCK = 8, 512  # tokens compared at a time


def suffix_array(
    tokens: Int[np.ndarray, " length"], report: Callable[[int, int], None] = lambda depth, remaining: None
) -> Int[np.ndarray, " length"]:
    """All positions, sorted by the tokens from there to the end.

    Prefix doubling (Manber and Myers, 1990): in each round suffixes in the order of their first `depth` tokens are put in the
    order of twice as many, and only those that are not yet told apart are sorted again (Larsson and Sadakane, 2007).

    Args:
        tokens: ids of 0 or more.
        report: is told, before each round, the depth and how many suffixes remain to be told apart.

    Returns:
        int32 positions.

    Raises:
        DataError: 2^31 tokens or more.
    """
    length = len(tokens)
    if length >= 1 << 31:
        raise DataError(f"the text has {length:,} tokens; a suffix array of 32-bit positions holds fewer than {1 << 31:,}.")
    order = np.argsort(tokens, kind="stable").astype(np.int32)
    rank = np.empty(length, np.int64)  # of a suffix: the first place of its group, the suffixes that are equal so far
    places = np.arange(length, dtype=np.int64)  # where `order` is not final
    places = _regroup(tokens[order], places, order, rank)
    depth = 1
    while len(places):
        report(depth, len(places))
        suffixes = order[places]
        follows = suffixes.astype(np.int64) + depth
        within = follows < length
        key = rank[suffixes] * (length + 1)
        key[within] += rank[follows[within]] + 1
        sorting = np.argsort(key)
        order[places] = suffixes[sorting]
        places = _regroup(key[sorting], places, order, rank)
        depth *= 2
    return order


def longest_shared(
    tokens: Int[np.ndarray, " length"],
    order: Int[np.ndarray, " length"],
    query: Int[np.ndarray, " query"],
    starts: Int[np.ndarray, " starts"],
) -> Int[np.ndarray, " starts"]:
    """For each start in the query, the length of the longest run from there that the text has too.

    Binary search for all starts at once; a comparison goes on from what both ends of the interval are known to share.

    Args:
        tokens, order: the text, whose last token no query has, and its suffix array. They may be memory-mapped.
        query: ids; `UNKNOWN` matches nothing.
        starts: places in it.
    """
    _, before, after = _search(tokens, order, np.append(query, UNKNOWN), starts)
    return np.maximum(before, after)


def occurrences(
    tokens: Int[np.ndarray, " length"], order: Int[np.ndarray, " length"], run: Int[np.ndarray, " run"]
) -> Int[np.ndarray, " found"]:
    """The positions of a run in the text, ascending."""
    largest = np.iinfo(np.int32).max
    query = np.concatenate([run, [UNKNOWN], run, [largest]])  # the places before and after all suffixes that begin with it
    (first, last), _, _ = _search(tokens, order, query, np.array([0, len(run) + 1]))
    return np.sort(order[first:last])


def _regroup(keys, places, order, rank):
    """Gives the suffixes at `places`, whose keys are sorted, their new ranks; returns the places of those still equal."""
    new = np.ones(len(keys), bool)
    new[1:] = keys[1:] != keys[:-1]
    rank[order[places]] = places[np.maximum.accumulate(np.where(new, np.arange(len(keys)), 0))]
    alone = new & np.append(new[1:], True)
    return places[~alone]


def _search(tokens, order, query, starts):
    """For each start, the place of the first suffix of the text that is not below that of the query, and how many tokens the
    query's suffix shares with the one before that place and with the one at it."""
    low, high = np.full(len(starts), -1), np.full(len(starts), len(order))  # order[low] < query <= order[high]
    shared_low, shared_high = np.zeros(len(starts), np.int64), np.zeros(len(starts), np.int64)
    while (active := np.flatnonzero(high - low > 1)).size:
        middle = (low[active] + high[active]) // 2
        positions = np.asarray(order[middle], np.int64)
        shared = _extend(tokens, query, positions, starts[active], np.minimum(shared_low, shared_high)[active])
        below = tokens[positions + shared] < query[starts[active] + shared]
        up, down = active[below], active[~below]
        low[up], shared_low[up] = middle[below], shared[below]
        high[down], shared_high[down] = middle[~below], shared[~below]
    return high, shared_low, shared_high


def _extend(tokens, query, positions, starts, shared):
    """How many tokens the text from each position shares with the query from each start, given some that it does.

    The ends of neither are passed: the text's last token and the query's differ from all of the other.
    """
    shared, block = shared.copy(), SMALLEST_BLOCK
    active = np.arange(len(shared))
    while active.size:
        steps = np.arange(block)
        ours = query.take((starts[active] + shared[active])[:, None] + steps, mode="clip")
        theirs = tokens[np.minimum((positions[active] + shared[active])[:, None] + steps, len(tokens) - 1)]
        differs = ours != theirs
        found = differs.any(axis=1)
        shared[active] += np.where(found, differs.argmax(axis=1), block)
        active, block = active[~found], min(2 * block, LARGEST_BLOCK)
    return shared
