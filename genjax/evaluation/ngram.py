"""An n-gram model with backoff over token ids: the baseline that a network has to beat.

Interpolated Kneser-Ney smoothing with one discount an order (Kneser and Ney, 1995; Chen and Goodman, 1999, section 4.1.6):

    p_n(w | c) = max(count(c w) - D_n, 0) / count(c) + D_n distinct(c) / count(c) p_{n-1}(w | c')

where c' is c without its first token, counts of the orders below n are numbers of distinct left neighbours, D = n1 / (n1 + 2 n2),
and the order 0 is uniform. A context that was never seen leaves everything to the order below.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from genjax.errors import DataError


@dataclass(frozen=True, eq=False)
class _Order:
    """Counts of the n-grams of one order, as sorted keys `context id * vocabulary + token`.

    Attributes:
        keys: [grams], ascending; the place of a gram in it is its id, which is a context of the next order.
        counts: [grams], occurrences (the highest order) or distinct left neighbours.
        totals, distinct: [contexts], sums and numbers of a context's grams.
        discount: taken from each count.
    """

    keys: Int[np.ndarray, " grams"]
    counts: Int[np.ndarray, " grams"]
    totals: Int[np.ndarray, " contexts"]
    distinct: Int[np.ndarray, " contexts"]
    discount: float


@dataclass(frozen=True, eq=False)
class NGram:
    """A trained model; `orders[n - 1]` holds the n-grams."""

    orders: tuple[_Order, ...]
    vocab_size: int

    def log_probabilities(self, tokens: Int[np.ndarray, " length"]) -> Float[np.ndarray, " length"]:
        """log p of each token given up to n - 1 tokens before it, in nats."""
        tokens = np.asarray(tokens, np.int64)
        probability = np.full(len(tokens), 1.0 / self.vocab_size)
        context = np.zeros(len(tokens), np.int64)  # id of the (n-1)-gram before each token; -1: never seen
        for order in self.orders:
            gram = _find(order.keys, context, tokens, self.vocab_size)
            total = np.where(context >= 0, order.totals[context], 0)
            count = np.where(gram >= 0, order.counts[gram], 0)
            backoff = order.discount * order.distinct[context] * probability
            mixed = (np.maximum(count - order.discount, 0) + backoff) / np.maximum(total, 1)
            probability = np.where(total > 0, mixed, probability)
            context = np.concatenate([[-1], gram[:-1]])
        return np.log(probability)


def train_ngram(tokens: Int[np.ndarray, " length"], vocab_size: int, order: int = 5) -> NGram:
    """Counts the n-grams of a stream up to `order`.

    Args:
        tokens: ids below `vocab_size`.

    Raises:
        DataError: fewer tokens than the order.
    """
    tokens = np.asarray(tokens, np.int64)
    if len(tokens) <= order:
        raise DataError(f"an n-gram model of order {order} needs more than {order} tokens, but there are {len(tokens)}.")
    keys, counts, ids = [], [], []
    context = np.zeros(len(tokens), np.int64)
    for n in range(1, order + 1):  # ids[n - 1][i]: the n-gram that ends at token i + n - 1
        ends = tokens[n - 1 :]
        found, inverse, count = np.unique(context[: len(ends)] * vocab_size + ends, return_inverse=True, return_counts=True)
        keys.append(found)
        counts.append(count)
        ids.append(inverse)
        context = inverse  # the n-gram that ends at i + n - 1 is the context of the token after it
    for n in range(1, order):  # each distinct (n+1)-gram is one left neighbour of the n-gram at its end
        suffix = np.empty(len(keys[n]), np.int64)
        suffix[ids[n]] = ids[n - 1][1:]
        counts[n - 1] = np.bincount(suffix, minlength=len(keys[n - 1]))
    contexts = [1, *map(len, keys)]
    return NGram(tuple(map(_order, keys, counts, contexts[:-1], [vocab_size] * order)), vocab_size)


def _order(keys: np.ndarray, counts: np.ndarray, contexts: int, vocab_size: int) -> _Order:
    context = keys // vocab_size
    once, twice = int((counts == 1).sum()), int((counts == 2).sum())
    discount = once / (once + 2 * twice) if once else 0.5
    return _Order(
        keys,
        counts,
        np.bincount(context, weights=counts, minlength=contexts).astype(np.int64),
        np.bincount(context, weights=counts > 0, minlength=contexts).astype(np.int64),
        discount,
    )


def _find(keys: np.ndarray, context: np.ndarray, tokens: np.ndarray, vocab_size: int) -> np.ndarray:
    """Ids of the grams `context token`; -1 for those that were never seen."""
    wanted = context * vocab_size + tokens
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where((context >= 0) & (keys[place] == wanted), place, -1)
