"""Count models of a hidden token: they are distributions, and both neighbours say more than one."""

import numpy as np
import pytest

from genjax.errors import DataError
from genjax.evaluation.two_sided import train_neighbours

RNG = np.random.default_rng(0)
# 0 and 1 are specials; b is what stands between a and c nine times in ten.
ENDS = RNG.integers(2, 11, (3000, 2))
BETWEEN = np.where(RNG.random(3000) < 0.9, ENDS.sum(1) % 9 + 2, RNG.integers(2, 11, 3000))
STREAM = np.stack([np.zeros(3000, int), ENDS[:, 0], BETWEEN, ENDS[:, 1], np.ones(3000, int)], axis=1).reshape(-1)
MODEL = train_neighbours(STREAM, 12, np.arange(2, 12))


def test_they_are_distributions_over_the_allowed_tokens():
    for values in (MODEL.from_nothing(), MODEL.from_left(4), MODEL.from_both(4, 7), MODEL.from_both(11, 11)):
        assert values.sum() == pytest.approx(1) and (values[:2] == 0).all() and (values[2:] > 0).all()


def test_shares_are_those_of_the_counts():
    triples = np.stack([STREAM[:-2], STREAM[1:-1], STREAM[2:]], 1)
    left = triples[triples[:, 0] == 4][:, 1]
    left = left[left > 1]
    expected = np.bincount(left, minlength=12) / len(left)
    assert np.abs(MODEL.from_left(4) - expected).max() < 0.02
    between = triples[(triples[:, 0] == 4) & (triples[:, 2] == 7) & (triples[:, 1] > 1)][:, 1]
    assert np.abs(MODEL.from_both(4, 7) - np.bincount(between, minlength=12) / len(between)).max() < 0.2


def test_both_neighbours_say_more_than_one_and_one_more_than_none():
    places = np.arange(7, 4000, 5)  # the word between two others
    nats = np.zeros(3)
    for i in places:
        left, word, right = STREAM[i - 1 : i + 2]
        values = (MODEL.from_nothing(), MODEL.from_left(left), MODEL.from_both(left, right))
        nats -= np.log([p[word] for p in values]) / len(places)
    assert nats[0] >= nats[1] - 0.05 and nats[2] < nats[1] - 1


def test_a_stream_that_is_too_short_is_a_sentence():
    with pytest.raises(DataError, match="needs more than"):
        train_neighbours(np.array([1, 2]), 12, np.arange(12))
