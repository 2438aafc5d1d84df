"""Streaming statistics and the Fréchet distance, against NumPy, scipy's matrix root and closed forms."""

import numpy as np
import pytest
import scipy.linalg

from genjax.errors import DataError
from genjax.evaluation.images.frechet import frechet_distance, frechet_distance_at_infinity, too_few
from genjax.evaluation.images.statistics import Statistics, merged, statistics


def draw(count, width, seed=0, shift=0.0):
    """Correlated features, as ReLU networks give them: not negative, far from 0 on average."""
    generator = np.random.default_rng(seed)
    mix = np.random.default_rng(9).normal(size=(width, width)) / width**0.5
    return np.abs(generator.normal(size=(count, width)) @ mix + shift).astype(np.float32)


def gaussian(mean, covariance):
    return Statistics(1001, np.asarray(mean, float), 1000 * np.asarray(covariance, float))


def by_matrix_root(first, second):
    """The formula as pytorch-fid computes it, from all features at once."""
    (m1, c1), (m2, c2) = ((np.mean(x, 0, np.float64), np.cov(x.astype(np.float64), rowvar=False)) for x in (first, second))
    root = scipy.linalg.sqrtm(c1 @ c2)
    return ((m1 - m2) ** 2).sum() + np.trace(c1) + np.trace(c2) - 2 * np.trace(root).real


@pytest.mark.parametrize("sizes", [[500], [1, 499], [7] * 71 + [3], [250, 1, 249]], ids=lambda s: f"{len(s)} pieces")
def test_statistics_of_pieces_are_those_of_the_whole(sizes):
    features = draw(500, 12) + 1000  # far from 0: a sum of squares less a square of sums would lose 6 digits
    found = merged(statistics(piece) for piece in np.split(features, np.cumsum(sizes)[:-1]))
    assert found.count == 500
    np.testing.assert_allclose(found.mean, features.mean(0, np.float64), rtol=1e-13)
    np.testing.assert_allclose(found.covariance, np.cov(features.astype(np.float64), rowvar=False), rtol=1e-9, atol=1e-12)


def test_order_of_merging_does_not_matter():
    first, second, third = (statistics(draw(40, 5, seed)) for seed in range(3))
    one, other = merged([first, second, third]), merged([third, merged([second, first])])
    np.testing.assert_allclose(one.mean, other.mean, rtol=1e-14)
    np.testing.assert_allclose(one.scatter, other.scatter, rtol=1e-12)


@pytest.mark.parametrize("width, shift", [(3, 0.0), (16, 0.5), (64, 0.02)])
def test_distance_is_that_of_the_matrix_root(width, shift):
    first, second = draw(900, width), draw(700, width, seed=1, shift=shift)
    found = frechet_distance(statistics(first), statistics(second))
    assert found == pytest.approx(by_matrix_root(first, second), rel=1e-6)
    assert found == pytest.approx(frechet_distance(statistics(second), statistics(first)), rel=1e-9)


def test_distance_of_gaussians_that_commute():
    """|m1 - m2|² + Σ (√v1 - √v2)²; some variances are 0, as those of features that never fire."""
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(6, 6)))[0]
    v1, v2 = np.array([1, 4, 0, 0, 9, 1e-8]), np.array([4, 1, 2, 0, 9, 1e-4])
    mean = np.array([1.0, 0, 2, 0, 0, 0])
    found = frechet_distance(gaussian(mean, turn * v1 @ turn.T), gaussian(0 * mean, turn * v2 @ turn.T))
    assert found == pytest.approx(5 + ((v1**0.5 - v2**0.5) ** 2).sum(), rel=1e-9)


def test_fewer_images_than_features():
    """Where a root of the product of covariances has only rounding to go by, a set is still at 0 from itself, and moving it moves
    it by exactly that."""
    features = draw(40, 120)
    one = statistics(features)
    assert abs(frechet_distance(one, one)) < 1e-9 * np.trace(one.covariance)
    moved = statistics(features.astype(np.float64) + 0.5)
    assert frechet_distance(one, moved) == pytest.approx(120 * 0.25, rel=1e-8)
    doubled = statistics(2 * features.astype(np.float64))
    expected = (one.mean**2).sum() + np.trace(one.covariance)  # (√4 - √1)² of the variances
    assert frechet_distance(one, doubled) == pytest.approx(expected, rel=1e-8)


def test_too_few_images_are_said():
    assert too_few(2049, 2048) == ""
    assert too_few(500, 2048).startswith("500 images for 2,048 features: their covariance has at most rank 499")
    with pytest.raises(DataError, match="a covariance needs 2 images or more; there is 1"):
        frechet_distance(statistics(draw(1, 3)), statistics(draw(9, 3)))
    with pytest.raises(DataError, match="features are 3 and 4 wide; measure both sets with one network"):
        frechet_distance(statistics(draw(9, 3)), statistics(draw(9, 4)))


def test_the_distance_at_infinity_takes_the_bias_off():
    """Two sets of one Gaussian are 0 apart; the plain distance of few images is far from it."""
    width = 24
    truth = gaussian(np.zeros(width), np.eye(width))
    features = np.random.default_rng(0).normal(size=(1200, width))
    plain = frechet_distance(statistics(features), truth)
    better = frechet_distance_at_infinity(features, truth, smallest=200, seed=3)
    assert plain > 0.1 and abs(better) < plain / 8
    assert better == frechet_distance_at_infinity(features, truth, smallest=200, seed=3)
    with pytest.raises(DataError, match="needs 4 images or more; there are 3"):
        frechet_distance_at_infinity(features[:3], truth)
