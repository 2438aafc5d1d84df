"""The kernel distance and the Inception score, against sums written out and closed forms."""

import itertools

import numpy as np
import pytest

from genjax.errors import DataError
from genjax.evaluation.images.inception_score import inception_score
from genjax.evaluation.images.kernel import kernel_distance, squared_mmd


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def kernel(x, y):
    return (float(np.dot(x.astype(np.float64), y.astype(np.float64))) / len(x) + 1) ** 3


def test_mmd_is_the_sum_over_pairs():
    x, y = draw(7, 5), draw(9, 5, seed=1)
    pairs = lambda a: np.mean([kernel(p, q) for p, q in itertools.permutations(a, 2)])  # noqa: E731
    expected = pairs(x) + pairs(y) - 2 * np.mean([kernel(p, q) for p in x for q in y])
    assert squared_mmd(x, y) == pytest.approx(expected, rel=1e-12)


def test_the_estimate_has_no_bias():
    """Its mean over every draw of two (with replacement) from each of two small distributions is their true squared distance."""
    p, q = draw(3, 4), draw(3, 4, seed=2) + 0.5
    k = lambda a, b: np.mean([[kernel(s, t) for t in b] for s in a])  # noqa: E731
    truth = k(p, p) + k(q, q) - 2 * k(p, q)
    pairs = list(itertools.product(range(3), repeat=2))
    found = [squared_mmd(p[list(i)], q[list(j)]) for i in pairs for j in pairs]
    assert np.mean(found) == pytest.approx(truth, rel=1e-10)
    assert min(found) < 0


def test_subsets():
    x, y = draw(60, 8), draw(80, 8, seed=1) + 0.3
    everything = squared_mmd(x, y[:60])
    assert kernel_distance(x, y[:60], subsets=3) == (pytest.approx(everything, rel=1e-12), pytest.approx(0, abs=1e-12))
    mean, deviation = kernel_distance(x, y, subsets=200, subset_size=20, seed=1)
    assert (mean, deviation) == kernel_distance(x, y, subsets=200, subset_size=20, seed=1)
    assert mean != kernel_distance(x, y, subsets=200, subset_size=20, seed=2)[0]
    assert abs(mean - squared_mmd(x, y)) < 4 * deviation / 200**0.5
    for a, b in ((x[:1], y), (x, y[:, :7])):
        with pytest.raises(DataError, match=r"a kernel distance needs 2 images or more of each set, and one network"):
            kernel_distance(a, b)


def test_score_of_extremes():
    certain = 200.0 * np.eye(10)
    assert inception_score(np.tile(certain, (5, 1)), splits=1) == (pytest.approx(10), 0)  # every class, each surely
    assert inception_score(np.tile(certain[:1], (50, 1)), splits=1) == (pytest.approx(1), 0)  # one class
    assert inception_score(np.zeros((50, 10)), splits=5) == (pytest.approx(1), pytest.approx(0))  # any class, none surely


def test_score_is_the_formula():
    logits = 3 * draw(57, 6)
    p = np.exp(logits.astype(np.float64))
    p /= p.sum(1, keepdims=True)
    scores = []
    for start, stop in ((0, 14), (14, 28), (28, 42), (42, 57)):
        part = p[start:stop]
        scores.append(np.exp((part * np.log(part / part.mean(0))).sum(1).mean()))
    mean, deviation = inception_score(logits, splits=4, seed=None)
    assert (mean, deviation) == (pytest.approx(np.mean(scores), rel=1e-12), pytest.approx(np.std(scores), rel=1e-9))


def test_images_sorted_by_class_are_shuffled_before_they_are_split():
    logits = np.repeat(9 * np.eye(10), 100, axis=0)
    assert inception_score(logits, splits=10, seed=None)[0] == pytest.approx(1)
    assert inception_score(logits, splits=10)[0] > 9
    assert inception_score(logits, splits=10) == inception_score(logits, splits=10)
    with pytest.raises(DataError, match="9 images make no 10 splits"):
        inception_score(logits[:9])
