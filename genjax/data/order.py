"""Shuffled order without a list: the place of any row in any epoch, at once.

Grain's own index shuffle walks a space of at least 2**16 for each index (2 ms for one of 64 rows) and takes one index at a time;
this one takes a batch of them, and stays the same from one version of a library to the next.
"""

from functools import lru_cache

import numpy as np
from jaxtyping import Int, UInt

SMALL = 1 << 16  # up to here a permutation is sorted out in full, and is uniform; above, a Feistel network stands in for it
ROUNDS = 8
GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def shuffled(index: Int[np.ndarray, " n"], length: int, seed: int) -> Int[np.ndarray, " n"]:
    """Entries `index` of an endless sequence in which each stretch of `length` (an epoch) is a permutation of 0 .. length - 1.

    A pure function of its arguments, and the same on every machine. Epochs, seeds and lengths give unrelated permutations.
    """
    index = np.asarray(index, np.int64)
    epochs, places = index // length, index % length
    if length > SMALL:
        return _feistel(places, length, _keys(length, seed, epochs)).astype(np.int64)
    result = np.empty_like(places)
    for epoch in set(epochs.tolist()):
        result[epochs == epoch] = _sorted_out(length, seed, epoch)[places[epochs == epoch]]
    return result


@lru_cache(maxsize=16)
def _sorted_out(length: int, seed: int, epoch: int) -> Int[np.ndarray, " length"]:
    key = _keys(length, seed, np.array([epoch]))
    return np.argsort(mix(key + GOLDEN * np.arange(length, dtype=np.uint64)), kind="stable")


def _feistel(places: Int[np.ndarray, " n"], length: int, keys: UInt[np.ndarray, " n"]) -> UInt[np.ndarray, " n"]:
    """A permutation of the smallest square power of two that holds `length`, followed until it comes back below `length`."""
    half = np.uint64(((length - 1).bit_length() + 1) // 2)
    mask = (np.uint64(1) << half) - np.uint64(1)
    result, outside = places.astype(np.uint64), np.arange(len(places))
    while len(outside):
        value, key = result[outside], keys[outside]
        left, right = value >> half, value & mask
        for _ in range(ROUNDS):
            key = key + GOLDEN
            left, right = right, left ^ (mix(mix(key) ^ right) & mask)
        result[outside] = left << half | right
        outside = outside[result[outside] >= length]
    return result


def _keys(length: int, seed: int, epochs: Int[np.ndarray, " n"]) -> UInt[np.ndarray, " n"]:
    seed = np.array([seed & 0xFFFFFFFFFFFFFFFF], np.uint64)
    return mix(mix(mix(seed + GOLDEN) + np.uint64(length)) + GOLDEN * epochs.astype(np.uint64))


def mix(z: UInt[np.ndarray, " n"]) -> UInt[np.ndarray, " n"]:
    """The finalizer of SplitMix64 (Steele, Lea and Flood 2014): every bit of the input moves every bit of the output."""
    z = (z ^ z >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ z >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return z ^ z >> np.uint64(31)
