"""Count models of a token between two others: the baselines that a masked language model has to beat.

    unigram     p(w)
    bigram      p(w | l)
    two-sided   p(w | l, r) proportional to p(w | l) p(r | w): what a chain of bigrams knows of a hidden link;
                mixed with the counts of l w r by absolute discounting, where l . r was seen

Probabilities of n-grams are those of `ngram.train_ngram`; l and r are the neighbours.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from genjax.evaluation.ngram import NGram, train_ngram

DISCOUNT = 0.75  # taken from each count of l w r


@dataclass(frozen=True, eq=False)
class Neighbours:
    """A trained model.

    Attributes:
        unigram, bigram: over the stream.
        keys, counts: the distinct triples (l, r, w) as `(l * vocabulary + r) * vocabulary + w`, ascending.
        allowed: ids that can be hidden; all other tokens have probability 0.
    """

    unigram: NGram
    bigram: NGram
    keys: Int[np.ndarray, " triples"]
    counts: Int[np.ndarray, " triples"]
    allowed: Int[np.ndarray, " allowed"]

    @property
    def vocab_size(self) -> int:
        return self.unigram.vocab_size

    def from_nothing(self) -> Float[np.ndarray, " vocab"]:
        """p(w)."""
        return self._normalized(np.exp(self.unigram.log_probabilities(np.arange(self.vocab_size))))

    def from_left(self, left: int) -> Float[np.ndarray, " vocab"]:
        """p(w | l)."""
        return self._normalized(self._after(np.full(self.vocab_size, left), np.arange(self.vocab_size)))

    def from_both(self, left: int, right: int) -> Float[np.ndarray, " vocab"]:
        """p(w | l, r)."""
        words = np.arange(self.vocab_size)
        chain = self.from_left(left) * self._after(words, np.full(self.vocab_size, right))
        chain = self._normalized(chain)
        first = (left * self.vocab_size + right) * self.vocab_size
        start, stop = np.searchsorted(self.keys, (first, first + self.vocab_size))
        if start == stop:
            return chain
        found, counts = self.keys[start:stop] - first, self.counts[start:stop]
        mixed = chain * DISCOUNT * len(counts) / counts.sum()
        mixed[found] += (counts - DISCOUNT) / counts.sum()
        return self._normalized(mixed)

    def _after(self, before: Int[np.ndarray, " vocab"], words: Int[np.ndarray, " vocab"]) -> Float[np.ndarray, " vocab"]:
        """p(words | before), pair by pair."""
        return np.exp(self.bigram.log_probabilities(np.stack([before, words], axis=1).reshape(-1))[1::2])

    def _normalized(self, values: Float[np.ndarray, " vocab"]) -> Float[np.ndarray, " vocab"]:
        only = np.zeros_like(values)
        only[self.allowed] = values[self.allowed]
        return only / only.sum()


def train_neighbours(tokens: Int[np.ndarray, " length"], vocab_size: int, allowed: Int[np.ndarray, " allowed"]) -> Neighbours:
    """Counts a stream.

    Args:
        tokens: ids below `vocab_size`, those of specials among them, which are neighbours too.
        allowed: ids that can be hidden.

    Raises:
        DataError: fewer than three tokens.
    """
    tokens = np.asarray(tokens, np.int64)
    left, word, right = tokens[:-2], tokens[1:-1], tokens[2:]
    keys, counts = np.unique((left * vocab_size + right) * vocab_size + word, return_counts=True)
    return Neighbours(train_ngram(tokens, vocab_size, 1), train_ngram(tokens, vocab_size, 2), keys, counts, np.asarray(allowed))
