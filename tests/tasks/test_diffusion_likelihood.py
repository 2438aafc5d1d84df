"""Bits a dimension against a density that is known: a network that says nothing leaves the denoiser of Gaussian data."""

from functools import partial

import jax
import numpy as np
from scipy import stats

from genjax import data, tasks
from genjax.tasks.diffusion_likelihood import STEPS, bound_bits, flow_bits

UNET = {"widths": (8,), "blocks": 1, "groups": 4, "attention_levels": (), "middle_attention": False}
STD = 0.5  # of the data, as EDM's preconditioning has it
KEY = jax.random.key(3)


def gaussian():
    """A task, its variables with a last layer of zeros, and a batch of 16 images of Gaussian pixels."""
    info = data.describe({"name": "images", "classes": ("only",), "image_size": 4, "channels": 1, "batch_size": 16})
    process = {"prediction": "edm", "sigma_data": STD, "variance": "large"}
    task = tasks.build({"name": "diffusion", "model": UNET, "process": process}, info)
    variables = jax.jit(task.init)(jax.random.key(0))
    pixels = np.random.default_rng(0).normal(0, STD, (16, 4, 4, 1))
    images = np.clip(np.rint((pixels + 1) * STEPS / 2), 0, STEPS).astype(np.uint8)
    return task, variables, {"image": images, "label": np.zeros(16, np.int32), "mask": np.ones(16, np.float32)}


def bits(log_density):
    return -log_density.reshape(16, -1).mean(1) / np.log(2)


def test_by_the_flow():
    """Each image is spread over its levels with the first part of the key."""
    task, variables, batch = gaussian()
    spread = jax.random.uniform(jax.random.split(KEY, 17)[0], batch["image"].shape, minval=-0.5, maxval=0.5)
    x = (batch["image"] + np.asarray(spread)) / (STEPS / 2) - 1
    expected = bits(stats.norm.logpdf(x, scale=STD)) + np.log2(STEPS / 2)
    found = jax.jit(partial(flow_bits, task))(variables, batch, KEY)
    np.testing.assert_allclose(found, expected, atol=0.006)


def test_the_bound_is_just_above():
    """All thousand terms, and some of them: the mean over the images lies above what the exact density gives.
    With the larger variance, which is nearly that of Gaussian data."""
    task, variables, batch = gaussian()
    levels = (batch["image"] + np.array([[[[-0.5]]], [[[0.5]]]])[:, None]) / (STEPS / 2) - 1
    low, high = stats.norm.cdf(levels, scale=STD)
    low, high = np.where(batch["image"] == 0, 0, low), np.where(batch["image"] == STEPS, 1, high)
    exact = bits(np.log(high - low)).mean()
    for draws in (0, 50):
        found = float(jax.jit(partial(bound_bits, task, draws=draws))(variables, batch, KEY).mean())
        assert exact - 0.03 < found < exact + 0.12, (draws, found, exact)
