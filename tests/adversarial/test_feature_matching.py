"""Matching of features: values and gradients in closed form, in float64 NumPy."""

import jax
import numpy as np

from genjax.adversarial.feature_matching import feature_matching, mean_feature_matching


def layers(seed, rows=3):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((rows, *shape)).astype(np.float32) for shape in ((4, 4, 2), (2, 2, 5))]


def test_layers_count_alike_whatever_their_size():
    real, fake = layers(0), layers(1)
    value, (to_real, to_fake) = jax.value_and_grad(feature_matching, argnums=(0, 1))(real, fake)
    differences = [two.astype(np.float64) - one for one, two in zip(real, fake, strict=True)]
    np.testing.assert_allclose(value, sum(np.abs(d).mean() for d in differences), rtol=1e-6)
    for gradient, d in zip(to_fake, differences, strict=True):
        np.testing.assert_allclose(gradient, np.sign(d) / d.size, rtol=1e-6)
    assert not any(gradient.any() for gradient in to_real)


def test_means_are_matched_of_examples_that_are_no_pairs():
    real, fake = layers(0, rows=7)[1], layers(1)[1]
    value, (to_real, to_fake) = jax.value_and_grad(mean_feature_matching, argnums=(0, 1))(real, fake)
    gap = fake.astype(np.float64).mean(0) - real.astype(np.float64).mean(0)
    np.testing.assert_allclose(value, (gap**2).sum(), rtol=1e-5)
    np.testing.assert_allclose(to_fake, np.broadcast_to(2 * gap / 3, fake.shape), rtol=1e-4, atol=1e-6)
    assert not to_real.any()
