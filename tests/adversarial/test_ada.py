"""Adaptive augmentation: what the changes are and how often, and how their chance is steered."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.adversarial import ada
from genjax.adversarial.ada import AdaConfig
from genjax.errors import ConfigError
from tests.layers.affine_formula import noise, reference

COUNT, SHARE = 20_000, 0.3
SLACK = 5 * 0.5 / np.sqrt(COUNT)
augment = jax.jit(ada.augment, static_argnums=3)


def test_blits_are_whole_pixels_quarter_turns_and_flips():
    maps = np.asarray(ada.geometric_maps(jax.random.key(0), (COUNT, 16, 32, 3), SHARE, False), np.float64)
    linear, moved = maps[..., :2], maps[..., 2]
    np.testing.assert_allclose(np.abs(linear).sum(-1), 1, atol=1e-6)
    np.testing.assert_allclose(moved, np.round(moved), atol=1e-5)
    flipped = np.linalg.det(linear) < 0
    assert abs(flipped.mean() - SHARE / 2) < SLACK
    turned = (np.abs(linear[:, 0, 0]) < 0.5).mean()
    assert abs(turned - SHARE / 2) < SLACK
    shifted = (np.abs(moved).max(1) > 0.5).mean()
    both_still = 1 / 5 * 1 / 9  # roughly: a shift of up to an eighth that rounds to no pixel, of 16 and of 32
    assert SHARE * (1 - 2 * both_still) - SLACK < shifted < SHARE
    assert np.abs(moved).max() <= 4


def test_geometric_changes_are_as_large_and_as_frequent_as_published():
    maps = np.asarray(ada.geometric_maps(jax.random.key(1), (COUNT, 16, 16, 3), 1.0), np.float64)
    singular = np.log2(np.linalg.svd(maps[..., :2], compute_uv=False))
    assert abs(singular.mean(1).std() - 0.2) < 0.01  # how large: the mean of both axes
    stretched = (singular[:, 0] - singular[:, 1]) / 2  # |normal| of deviation 0.2
    assert abs(np.sqrt(np.square(stretched).mean()) - 0.2) < 0.01
    rare = np.asarray(ada.geometric_maps(jax.random.key(2), (COUNT, 16, 16, 3), SHARE), np.float64)
    sizes = np.log2(np.abs(np.linalg.det(rare[..., :2])))
    assert abs((np.abs(sizes) > 1e-5).mean() - SHARE) < SLACK
    whole = (np.abs(np.abs(rare[..., :2]).sum(-1) - 1) < 1e-5).all(1).mean()
    assert abs(whole - (1 - SHARE) ** 3) < SLACK  # neither larger nor wider nor turned


def test_colours_change_by_the_published_matrices():
    maps = np.asarray(ada.color_maps(jax.random.key(0), COUNT, 1.0), np.float64)
    linear, added = maps[..., :3], maps[..., 3]
    axis = np.full(3, 3**-0.5)
    grey = linear @ axis  # grey stays grey, lighter or darker, or turned to its opposite
    light = grey @ axis
    np.testing.assert_allclose(grey, light[:, None] * axis, atol=1e-5)
    assert abs((light < 0).mean() - 0.5) < SLACK
    contrast = np.abs(light)
    assert abs(np.log2(contrast).std() - 0.5) < 0.02
    # The brightness comes first, so that contrast and the turn to dark act on it too.
    brightness = (added @ axis) / light / np.sqrt(3)
    np.testing.assert_allclose(added, (brightness * light)[:, None] * np.ones(3), atol=1e-4)
    assert abs(brightness.std() - 0.2) < 0.01
    # Across the axis of grey: a turn by any angle and a scale, on both directions the same.
    across = np.stack([[2**-0.5, -(2**-0.5), 0], [6**-0.5, 6**-0.5, -2 * 6**-0.5]], axis=1)
    plane = across.T @ linear @ across / contrast[:, None, None]
    scale = np.sqrt(np.abs(np.linalg.det(plane)))
    np.testing.assert_allclose(
        plane @ plane.transpose(0, 2, 1) / scale[:, None, None] ** 2, np.eye(2)[None].repeat(COUNT, 0), atol=1e-3
    )
    assert abs(np.log2(scale).std() - 1) < 0.04
    angles = np.arctan2(plane[:, 1, 0], plane[:, 0, 0])
    assert abs(angles.std() - np.pi / np.sqrt(3)) < 0.03 and (np.linalg.det(plane) > 0).all()
    some = np.asarray(ada.color_maps(jax.random.key(1), COUNT, SHARE))
    assert abs((np.abs(some[..., 3]).max(1) > 1e-6).mean() - SHARE) < SLACK


@pytest.mark.parametrize("channels", [1, 3])
def test_images_go_through_both_maps(channels):
    images, key = noise(24, 9, 12, channels), jax.random.key(5)
    found = augment(key, images, 0.6, "bgc")
    geometry_key, color_key = jax.random.split(key)
    maps = np.asarray(ada.geometric_maps(geometry_key, images.shape, 0.6), np.float64)
    full = np.concatenate([maps, np.broadcast_to([[[0, 0, 1.0]]], (24, 1, 3))], axis=1)
    seen = reference(images, full, 12 * 12)
    colors = np.asarray(ada.color_maps(color_key, 24, 0.6), np.float64)
    if channels == 1:
        wide = np.broadcast_to(seen, (*seen.shape[:3], 3))
        expected = (np.einsum("bhwi,boi->bhwo", wide, colors[..., :3]) + colors[:, None, None, :, 3]).mean(-1, keepdims=True)
    else:
        expected = np.einsum("bhwi,boi->bhwo", seen, colors[..., :3]) + colors[:, None, None, :, 3]
    np.testing.assert_allclose(found, expected, atol=2e-4)


def test_nothing_is_done_at_0_and_gradients_flow():
    images, other, weights = (noise(24, 9, 12, 3, seed=seed) for seed in range(3))
    np.testing.assert_allclose(augment(jax.random.key(0), images, 0.0, "bgc"), images, atol=1e-6)
    # What is done is affine in the image: the difference of two images shows the slope.
    loss = lambda x: (ada.augment(jax.random.key(3), x, 0.8, "bgc") * weights).sum()  # noqa: E731
    value, slope = jax.jit(jax.value_and_grad(loss))(images)
    change = (augment(jax.random.key(3), other, 0.8, "bgc") * weights).sum() - value
    np.testing.assert_allclose(change, (slope * (other - images)).sum(), rtol=1e-4)


def test_two_channels_have_no_colour():
    with pytest.raises(ConfigError, match="2 channels have no colours.*use 'bg'"):
        ada.augment(jax.random.key(0), jnp.zeros((1, 4, 4, 2)), 0.5, "bgc")


def test_the_chance_is_steered_to_the_target():
    """Every 2 batches of 8, by 16 images of 1,000: up where the sign is above the target, down where it is below."""
    config = AdaConfig("bgc", target=0.6, kimg=1.0, interval=2)
    state = ada.start(config)
    found = []
    for logits in ([1.0] * 8, [2.0] * 8, [3.0] * 4 + [-1.0] * 4, [0.1] * 7 + [-1.0], [-5.0] * 8, [-5.0] * 8):
        state = ada.adapt(config, state, jnp.array(logits), 8)
        found.append(round(float(state.probability), 4))
    assert found == [0.0, 0.016, 0.016, 0.0, 0.0, 0.0]
    # In two microbatches the same.
    state, halves = ada.start(config), ada.start(config)
    for logits in ([1.0] * 6 + [-1.0] * 2, [1.0] * 8):
        state = ada.adapt(config, state, jnp.array(logits), 8)
        for half in (logits[::2], logits[1::2]):
            halves = ada.adapt(config, halves, jnp.array(half), 8)
    assert float(state.probability) == float(halves.probability) > 0


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"probability": 1.5}, "ada.probability lies from 0 to 1"),
        ({"target": 1.0}, "ada.target below 1"),
        ({"kimg": 0.0}, "must be positive"),
        ({"interval": 0}, "must be positive"),
    ],
)
def test_bad_settings(values, message):
    with pytest.raises(ConfigError, match=message):
        AdaConfig(**values)
