"""Exact and near duplicates: MinHash signatures of shingles of words, looked up by locality-sensitive hashing.

Broder (1997), "On the resemblance and containment of documents"; Lee et al. (2022), "Deduplicating training data makes language
models better". The hash tables are datasketch's; two documents that meet in one are compared by their signatures.
"""

import hashlib
import re
import zlib
from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Int, UInt64

from genjax.data.code.config import DuplicatesConfig
from genjax.errors import ConfigError

RECALL = 0.99  # of pairs at the threshold, the part that meets in a hash table
SCHEME = "affine32"  # of datasketch's permutations
BLOCK = 1 << 12  # shingles that are permuted together: the table of 128 permutations of them stays in the processor's cache


def exact_key(text: str) -> bytes:
    """16 bytes that two texts share when they differ in white space at the ends of lines and of the text alone."""
    lines = (line.rstrip() for line in text.strip().splitlines())
    return hashlib.blake2b("\n".join(lines).encode("utf-8", "surrogatepass"), digest_size=16).digest()


def shingles(text: str, length: int) -> UInt64[np.ndarray, " shingles"]:
    """The set of 32-bit hashes of every `length` words in a row, sorted; of a shorter text, of all its words.

    Words are runs of letters, digits and underscores: layout and punctuation do not count.
    """
    words = np.array([zlib.crc32(word.encode("utf-8", "surrogatepass")) for word in re.findall(r"\w+", text)], np.uint64)
    if not len(words):
        return words
    length = min(length, len(words))
    total = np.zeros(len(words) - length + 1, np.uint64)
    for place in range(length):
        total = total * np.uint64(0x9E3779B97F4A7C15) + words[place : place + len(total)]
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):  # splitmix64's finalizer
        total = (total ^ (total >> np.uint64(shift))) * np.uint64(factor)
    return np.unique(total >> np.uint64(32))


def bands(threshold: float, permutations: int) -> tuple[int, int]:
    """(bands, rows): the longest bands of which a pair at the threshold shares one with probability `RECALL`.

    With b bands of r rows, a pair of similarity s meets with probability 1 - (1 - s^r)^b.
    """
    rows = 1
    while 1 - (1 - threshold ** (rows + 1)) ** (permutations // (rows + 1)) >= RECALL:
        rows += 1
    return permutations // rows, rows


class NearDuplicates:
    """Documents are added one after the other; each is told which earlier ones it resembles. Deterministic.

    A document takes some 10 kB, whatever its length.
    """

    def __init__(self, config: DuplicatesConfig):
        self.config, self.datasketch = config, _datasketch()
        self.permutations = self.datasketch.MinHash(num_perm=config.permutations, scheme=SCHEME).permutations
        params = bands(config.threshold, config.permutations)
        self.index = self.datasketch.MinHashLSH(num_perm=config.permutations, params=params)
        self.signatures = np.zeros((1024, config.permutations), np.uint32)
        self.first: dict[bytes, int] = {}  # of each signature: equal ones need no hash table
        self.count = 0

    def add(self, text: str) -> Int[np.ndarray, " similar"]:
        """Numbers (from 0, in the order of the calls) of earlier documents whose estimated similarity reaches the threshold.

        Of earlier documents with one signature, only the first is given. A text without words resembles nothing.
        """
        number, self.count = self.count, self.count + 1
        minhash = self._minhash(text)
        if minhash is None:
            return np.zeros(0, np.int64)
        if number >= len(self.signatures):
            self.signatures = np.concatenate([self.signatures, np.zeros_like(self.signatures)])
        self.signatures[number] = minhash.hashvalues
        same = self.first.setdefault(self.signatures[number].tobytes(), number)
        if same != number:
            return np.array([same])
        candidates = np.array(sorted(self.index.query(minhash)), np.int64)
        self.index.insert(number, minhash, check_duplication=False)
        similarity = (self.signatures[candidates] == self.signatures[number]).mean(1)
        return candidates[similarity >= self.config.threshold]

    def _minhash(self, text: str) -> Any:
        found = shingles(text, self.config.shingle)
        if not len(found):
            return None
        size, permutations = self.config.permutations, self.permutations
        minhash = self.datasketch.MinHash(num_perm=size, permutations=permutations, scheme=SCHEME, hashfunc=int)
        for start in range(0, len(found), BLOCK):
            minhash.update_batch(found[start : start + BLOCK].tolist())
        return minhash


class Clusters:
    """Numbers joined into clusters; each cluster is known by its smallest."""

    def __init__(self):
        self.parent: list[int] = []

    def add(self) -> int:
        self.parent.append(len(self.parent))
        return len(self.parent) - 1

    def __len__(self) -> int:
        return len(self.parent)

    def join(self, a: int, b: int) -> None:
        a, b = self.root(a), self.root(b)
        self.parent[max(a, b)] = min(a, b)

    def root(self, a: int) -> int:
        while self.parent[a] != a:
            self.parent[a] = a = self.parent[self.parent[a]]
        return a


@lru_cache(1)
def _datasketch() -> Any:
    try:
        import datasketch
    except ImportError as error:
        raise ConfigError(
            "near duplicates are found with the package datasketch, which is not installed; run pip install 'genjax[code]', "
            "or set data.duplicates.near='ignore'."
        ) from error
    return datasketch
