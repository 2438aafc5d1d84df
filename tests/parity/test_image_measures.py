"""Measures of images against torchmetrics, on the same features."""

import numpy as np
import pytest
import torch

from genjax.evaluation.images.frechet import frechet_distance
from genjax.evaluation.images.inception_score import inception_score
from genjax.evaluation.images.kernel import kernel_distance
from genjax.evaluation.images.statistics import statistics

pytest.importorskip("torchmetrics", reason="torchmetrics is not installed")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # "will save all extracted features in buffer"


class Given(torch.nn.Module):
    """In the place of Inception: what comes in are features."""

    def __init__(self, width):
        super().__init__()
        self.num_features = width

    def forward(self, x):
        return x.flatten(1)


@pytest.fixture(scope="module")
def sets():
    """Generated and real features; they correlate, are not negative, and lie far from 0, as Inception's do."""
    generator = np.random.default_rng(0)
    mix = generator.normal(size=(32, 32))
    made = np.abs(generator.normal(size=(600, 32)) @ mix * 0.8 + 0.3)
    return made.astype(np.float32), np.abs(generator.normal(size=(700, 32)) @ mix).astype(np.float32)


def filled(metric, made, real):
    metric.set_dtype(torch.float64)
    metric.update(torch.from_numpy(real).double(), real=True)
    metric.update(torch.from_numpy(made).double(), real=False)
    return metric.compute()


def test_frechet_distance(sets):
    from torchmetrics.image.fid import FrechetInceptionDistance

    expected = float(filled(FrechetInceptionDistance(feature=Given(32)), *sets))
    assert frechet_distance(*map(statistics, sets)) == pytest.approx(expected, rel=1e-9)


def test_kernel_distance(sets):
    """One subset of everything, so that no draw comes in."""
    from torchmetrics.image.kid import KernelInceptionDistance

    made, real = sets[0], sets[1][:600]
    expected, _ = filled(KernelInceptionDistance(feature=Given(32), subsets=1, subset_size=600), made, real)
    found, _ = kernel_distance(made, real, subsets=1, subset_size=600)
    assert found == pytest.approx(float(expected), rel=1e-9)


def test_inception_score():
    """One split, so that their random order does not come in."""
    from torchmetrics.image.inception import InceptionScore

    logits = (3 * np.random.default_rng(0).normal(size=(600, 20))).astype(np.float32)
    metric = InceptionScore(feature=Given(20), splits=1)
    metric.update(torch.from_numpy(logits).double())
    assert inception_score(logits, splits=1)[0] == pytest.approx(float(metric.compute()[0]), rel=1e-9)
