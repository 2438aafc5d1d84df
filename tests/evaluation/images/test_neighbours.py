"""Precision, recall, density and coverage, against all distances at once."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from genjax.errors import DataError
from genjax.evaluation.images import neighbours
from genjax.evaluation.images.neighbours import density_coverage, precision_recall, squared_radii


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def radii(x, k):
    return np.sort(cdist(x, x), axis=1)[:, k]  # place 0 is the image itself


def plainly(generated, real, k):
    """The definitions: (precision, recall, density, coverage)."""
    generated, real = generated.astype(np.float64), real.astype(np.float64)
    distances = cdist(generated, real)
    inside = distances <= radii(real, k)
    recalled = (distances <= radii(generated, k)[:, None]).any(0)
    return inside.any(1).mean(), recalled.mean(), inside.sum(1).mean() / k, (distances.min(0) <= radii(real, k)).mean()


@pytest.mark.parametrize("block", [2048, 37, 1])
def test_numbers_in_blocks(block, monkeypatch):
    monkeypatch.setattr(neighbours, "BLOCK", block)
    generated, real = 0.7 * draw(90, 6) + 0.4, draw(70, 6, seed=1)
    if block == 1:
        generated, real = generated[:30], real[:20]
    for k in (1, 3, 5):
        expected = plainly(generated, real, k)
        assert (*precision_recall(generated, real, k), *density_coverage(generated, real, k)) == pytest.approx(
            expected, rel=1e-12
        )
        assert 0.05 < min(expected)
        known = squared_radii(real, (5, 1, 3))[k]  # found once, for several numbers of neighbours
        np.testing.assert_allclose(known, radii(real.astype(np.float64), k) ** 2, rtol=1e-12)
        found = (*precision_recall(generated, real, k, known), *density_coverage(generated, real, k, known))
        assert found == (*precision_recall(generated, real, k), *density_coverage(generated, real, k))


def test_sets_that_are_alike_and_sets_that_are_not():
    real, same, far = draw(400, 4), draw(400, 4, seed=1), draw(400, 4, seed=2) + 50
    assert min(precision_recall(same, real)) > 0.85
    density, coverage = density_coverage(same, real)
    assert 0.9 < density < 1.1 and coverage > 0.9
    assert (*precision_recall(far, real), *density_coverage(far, real)) == (0, 0, 0, 0)


def test_fidelity_and_diversity_are_told_apart():
    real = draw(400, 4)
    narrow = 0.2 * draw(400, 4, seed=1)  # all plausible, all alike
    precision, recall = precision_recall(narrow, real)
    assert precision > 0.99 and recall < 0.2
    density, coverage = density_coverage(narrow, real)
    assert density > 1.2 and coverage < 0.6


def test_distances_do_not_lose_digits_far_from_zero():
    generated, real = draw(50, 3).astype(np.float64) + 1e5, draw(50, 3, seed=1).astype(np.float64) + 1e5
    assert (*precision_recall(generated, real, 3), *density_coverage(generated, real, 3)) == plainly(generated, real, 3)


def test_sets_that_are_too_small():
    for measure, k in ((precision_recall, 3), (density_coverage, 5)):
        with pytest.raises(
            DataError, match=rf"features are \[{k}, 2\] and \[9, 2\]; a neighbour number {k} needs more than {k} images"
        ):
            measure(draw(k, 2), draw(9, 2))
        with pytest.raises(DataError, match="one network for both"):
            measure(draw(9, 2), draw(9, 3))
