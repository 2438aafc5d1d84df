"""The shuffled order is a permutation in every epoch, found entry by entry, and never changes."""

import itertools
from collections import Counter

import numpy as np
import pytest

from genjax.data.order import SMALL, shuffled


@pytest.mark.parametrize("length", [1, 2, 3, 64, SMALL, SMALL + 1, 100_003, 1 << 17])
def test_every_epoch_is_a_permutation_and_no_two_are_alike(length):
    order = shuffled(np.arange(3 * length), length, seed=5).reshape(3, length)
    assert (np.sort(order, axis=1) == np.arange(length)).all()
    if length >= 64:
        assert max(np.mean(order[a] == order[b]) for a, b in ((0, 1), (0, 2), (1, 2))) < 0.1
        assert np.mean(order[0] == shuffled(np.arange(length), length, seed=6)) < 0.1


@pytest.mark.parametrize("length", [10, 100_003])
def test_an_entry_does_not_depend_on_what_is_asked_with_it(length):
    index = np.array([0, 3 * length, 5, length - 1, 7 * length + 3, 1 << 40])
    together = shuffled(index, length, seed=1)
    assert together.tolist() == [int(shuffled(np.array([i]), length, seed=1)[0]) for i in index]


def test_all_permutations_of_four_come_equally_often():
    order = shuffled(np.arange(4 * 4800), 4, seed=0).reshape(-1, 4)
    counts = Counter(map(tuple, order.tolist()))
    assert set(counts) == set(itertools.permutations(range(4)))
    # 200 expected of each with a standard deviation of 14
    assert 140 < min(counts.values()) and max(counts.values()) < 260


@pytest.mark.parametrize("length", [5000, 100_003])
def test_neighbours_are_unrelated(length):
    order = shuffled(np.arange(length), length, seed=3).astype(float)
    for other in (order[1:], shuffled(np.arange(length) + length, length, seed=3)[1:], np.arange(1, length)):
        assert abs(np.corrcoef(order[:-1], other)[0, 1]) < 5 / np.sqrt(length)


def test_runs_of_earlier_versions_keep_their_order():
    assert shuffled(np.arange(8), 1000, seed=0).tolist() == SMALL_ORDER
    assert shuffled(np.arange(8), 1_000_000, seed=0).tolist() == LARGE_ORDER


SMALL_ORDER = [758, 453, 274, 64, 857, 718, 27, 555]
LARGE_ORDER = [127330, 600162, 986421, 82609, 299034, 252184, 301033, 560151]
