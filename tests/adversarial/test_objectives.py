"""Objectives against the formulas of their papers, written with torch's own losses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from genjax.adversarial.objectives import OBJECTIVES, relativistic

LOGITS = np.linspace(-30, 30, 13).astype(np.float32)


def expected(name, logits):
    x = torch.from_numpy(logits).double()
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    entropy = lambda target: F.binary_cross_entropy_with_logits(x, target, reduction="none")  # noqa: E731
    square = lambda target: F.mse_loss(x, target, reduction="none") / 2  # noqa: E731
    return {
        "minimax": (entropy(one), entropy(zero), -entropy(zero)),
        "non_saturating": (entropy(one), entropy(zero), entropy(one)),
        "least_squares": (square(one), square(zero), square(one)),
        "wasserstein": (-x, x, -x),
        "hinge": (torch.clamp(1 - x, min=0), F.hinge_embedding_loss(-x, -one, margin=1.0, reduction="none"), -x),
    }[name]


@pytest.mark.parametrize("name", sorted(OBJECTIVES))
def test_values_and_where_the_players_pull(name):
    objective = OBJECTIVES[name]
    for found, wanted in zip(objective[:3], expected(name, LOGITS), strict=True):
        np.testing.assert_allclose(found(jnp.asarray(LOGITS)), wanted, rtol=1e-6, atol=1e-6)
    slope = lambda part, at: float(jax.grad(part)(at))  # noqa: E731
    assert slope(objective.real, 0.3) < 0 < slope(objective.fake, 0.3)
    assert slope(objective.generator, 0.3) < 0


def test_the_generator_that_is_seen_through_learns_only_without_saturation():
    slopes = {name: float(jax.grad(OBJECTIVES[name].generator)(-20.0)) for name in ("minimax", "non_saturating")}
    assert abs(slopes["minimax"]) < 1e-8 and abs(slopes["non_saturating"] + 1) < 1e-6


def test_relativistic_logits():
    real, fake = np.array([1.0, 3.0], np.float32), np.array([0.5, -2.5, 2.0], np.float32)
    np.testing.assert_allclose(relativistic(real, fake), [1.0, 3.0])
    np.testing.assert_allclose(relativistic(fake, real), [-1.5, -4.5, 0.0])
