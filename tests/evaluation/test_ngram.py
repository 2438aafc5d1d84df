"""Interpolated Kneser-Ney against its formula, written once more with dictionaries."""

from collections import Counter

import numpy as np
import pytest

from genjax.errors import DataError
from genjax.evaluation.ngram import train_ngram

VOCAB = 7


def stream(length, seed=0):
    """Tokens that often repeat what followed before."""
    rng = np.random.default_rng(seed)
    tokens = [0]
    for _ in range(length - 1):
        tokens.append((3 * tokens[-1] + 1) % VOCAB if rng.random() < 0.6 else int(rng.integers(VOCAB - 1)))
    return np.array(tokens)


def by_hand(train, context, word, order):
    """p(word | context) of Chen and Goodman, 1999, equation 4.2 and on."""
    if order == 0:
        return 1 / VOCAB
    grams = Counter(tuple(train[i : i + order]) for i in range(len(train) - order + 1))
    if order < by_hand.highest:
        longer = {tuple(train[i : i + order + 1]) for i in range(len(train) - order)}
        grams = Counter(gram[1:] for gram in longer)
    once, twice = (sum(count == n for count in grams.values()) for n in (1, 2))
    discount = once / (once + 2 * twice) if once else 0.5
    context = tuple(context[len(context) - (order - 1) :])
    followers = {gram: count for gram, count in grams.items() if gram[:-1] == context}
    total = sum(followers.values())
    lower = by_hand(train, context[1:], word, order - 1)
    if not total:
        return lower
    return (max(followers.get((*context, word), 0) - discount, 0) + discount * len(followers) * lower) / total


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_probabilities_are_the_formulas_and_add_up_to_one(order):
    train = stream(300).tolist()
    model = train_ngram(np.array(train), VOCAB, order)
    by_hand.highest = order
    for held_out in (stream(12, seed=1).tolist(), [6, 6, 6, 6, 6, 6], train[:6]):
        context = held_out[:-1][-(order - 1) :] if order > 1 else []
        found = [np.exp(model.log_probabilities(np.array([*held_out[:-1], word]))[-1]) for word in range(VOCAB)]
        expected = [by_hand(train, context, word, order) for word in range(VOCAB)]
        np.testing.assert_allclose(found, expected, rtol=1e-12)
        assert sum(found) == pytest.approx(1, abs=1e-12)


def test_more_context_predicts_better():
    train, held_out = stream(5000), stream(1000, seed=1)
    losses = [-train_ngram(train, VOCAB, order).log_probabilities(held_out).mean() for order in (1, 2)]
    assert losses[1] < losses[0] - 0.3


def test_too_little_text():
    with pytest.raises(DataError, match="order 5 needs more than 5 tokens, but there are 3"):
        train_ngram(np.arange(3), VOCAB)
