"""Parameterizations tell the same clean sample and noise, whichever the network speaks."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genjax.diffusion.predictions import KINDS, Prediction, clip, edm_input_scale, predict, target, threshold
from genjax.errors import ConfigError

SHAPE = (3, 4, 4, 2)


def draw(seed):
    generator = np.random.default_rng(seed)
    return (generator.standard_normal(SHAPE).astype(np.float32) for _ in range(2))


@settings(deadline=None)
@given(kind=st.sampled_from(KINDS), log_snr=st.floats(-2.5, 2.5), preserving=st.booleans(), seed=st.integers(0, 5))
def test_targets_tell_clean_and_noise(kind, log_snr, preserving, seed):
    clean, noise = draw(seed)
    alpha, sigma = (
        (1 / np.hypot(1, np.exp(-log_snr)), 1 / np.hypot(1, np.exp(log_snr))) if preserving else (1.0, np.exp(-log_snr))
    )
    x = np.float32(alpha) * clean + np.float32(sigma) * noise
    found = predict(kind, target(kind, clean, noise, alpha, sigma), x, alpha, sigma)
    np.testing.assert_allclose(found.clean, clean, atol=2e-4)
    np.testing.assert_allclose(found.noise, noise, atol=2e-4)


@settings(deadline=None)
@given(kind=st.sampled_from(KINDS), seed=st.integers(0, 5))
def test_clean_and_noise_make_up_the_sample(kind, seed):
    """Whatever a network says; with a level for each of the batch."""
    output, x = draw(seed)
    alpha, sigma = np.asarray([0.9, 0.5, 0.2], np.float32), np.asarray([0.2, 0.8, 1.5], np.float32)
    found = predict(kind, output, x, alpha, sigma)
    again = alpha[:, None, None, None] * found.clean + sigma[:, None, None, None] * found.noise
    np.testing.assert_allclose(again, x, atol=1e-4)
    alone = predict(kind, output[1:2], x[1:2], alpha[1], sigma[1])
    np.testing.assert_allclose(alone.clean, found.clean[1:2], rtol=1e-5, atol=1e-6)


def test_v_and_flow_need_no_signal():
    """At zero SNR and at time 1 they tell the clean sample, where the noise would not."""
    clean, noise = draw(0)
    for kind in ("v", "flow", "sample"):
        np.testing.assert_allclose(predict(kind, target(kind, clean, noise, 0.0, 1.0), noise, 0.0, 1.0).clean, clean, atol=1e-6)


def test_preconditioning_of_edm():
    """Table 1 of Karras et al., 2022: what the network sees and is asked has variance 1 at every level."""
    generator = np.random.default_rng(0)
    for sigma in (0.01, 0.5, 5.0, 80.0):
        clean, noise = 0.5 * generator.standard_normal(100_000), generator.standard_normal(100_000)
        x = clean + sigma * noise
        assert abs((edm_input_scale(1.0, sigma) * x).std() - 1) < 0.01
        assert abs(target("edm", clean, noise, 1.0, sigma).std() - 1) < 0.01
        skip, out, scale = 0.25 / (sigma**2 + 0.25), sigma * 0.5 / np.sqrt(sigma**2 + 0.25), 1 / np.sqrt(sigma**2 + 0.25)
        np.testing.assert_allclose(predict("edm", noise, x, 1.0, sigma).clean, skip * x + out * noise, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(edm_input_scale(1.0, sigma), scale, rtol=1e-6)


def test_thresholds():
    import torch
    from diffusers import DDPMScheduler

    x = 3 * np.random.default_rng(0).standard_normal((4, 8, 8, 3)).astype(np.float32)
    x[1] = np.clip(x[1], -0.5, 0.5)
    scheduler = DDPMScheduler(thresholding=True, dynamic_thresholding_ratio=0.9, sample_max_value=3.0)
    found = threshold(Prediction(jnp.asarray(x), jnp.asarray(x)), 0.9, 3.0)
    np.testing.assert_allclose(found.clean, scheduler._threshold_sample(torch.from_numpy(x)).numpy(), atol=1e-6)
    np.testing.assert_array_equal(found.noise, x)
    assert np.abs(clip(found, 0.5).clean).max() == 0.5


def test_an_unknown_kind_is_refused():
    for make in (predict, target):
        with pytest.raises(ConfigError, match="unknown prediction 'x0'; use one of epsilon"):
            make("x0", jnp.zeros(SHAPE), jnp.zeros(SHAPE), 1.0, 1.0)
