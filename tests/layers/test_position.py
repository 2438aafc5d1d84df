"""Sinusoidal and rotary positions against their papers."""

import jax.numpy as jnp
import numpy as np
import pytest

from genjax.layers.position import RopeScaling, rotary_angles, rotary_frequencies, rotate, sinusoidal


@pytest.mark.parametrize("features", [8, 7])
def test_sinusoidal_is_the_formula_of_vaswani(features):
    positions = np.array([[0, 1, 5], [2, 700, 3]])
    table = sinusoidal(jnp.asarray(positions), features)
    for b, row in enumerate(positions):
        for t, position in enumerate(row):
            for i in range(features):
                angle = position / 10000 ** (2 * (i // 2) / features)
                assert table[b, t, i] == pytest.approx(np.cos(angle) if i % 2 else np.sin(angle), abs=1e-4)


@pytest.mark.parametrize("theta", [1e4, 5e5])
def test_rotary_frequencies_are_the_formula_of_su(theta):
    expected = theta ** (-2 * np.arange(8) / 16)
    np.testing.assert_allclose(rotary_frequencies(16, theta), expected, rtol=3e-7)


def test_rotation_is_that_of_complex_numbers_and_keeps_lengths():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 5, 3, 8)).astype(np.float32)
    positions = np.array([[0, 1, 2, 3, 4], [7, 8, 0, 100, 9]])
    turned = np.asarray(rotate(x, rotary_angles(jnp.asarray(positions), 8, 1e4)))
    numbers = x[..., :4] + 1j * x[..., 4:]  # feature i is paired with i + 4
    expected = numbers * np.exp(1j * positions[:, :, None, None] * 1e4 ** (-2 * np.arange(4) / 8))
    np.testing.assert_allclose(turned[..., :4] + 1j * turned[..., 4:], expected, atol=2e-5)
    np.testing.assert_allclose((turned**2).sum(-1), (x**2).sum(-1), rtol=1e-5)
    np.testing.assert_array_equal(turned[0, 0], x[0, 0])  # position 0


@pytest.mark.parametrize("scaling", [None, RopeScaling(factor=8.0, original_context_length=64)])
def test_scores_depend_on_differences_of_positions_only(scaling):
    rng = np.random.default_rng(0)
    query, key = rng.normal(size=(2, 1, 6, 2, 8)).astype(np.float32)

    def scores(first):
        positions = jnp.arange(first, first + 6)[None]
        angles = rotary_angles(positions, 8, 1e4, scaling)
        return jnp.einsum("BTHK,BSHK->BHTS", rotate(query, angles), rotate(key, angles))

    np.testing.assert_allclose(scores(0), scores(137), atol=2e-4)
    # Distance changes them: keys that are moved by one do not score the same.
    assert np.abs(scores(0) - jnp.einsum("BTHK,BSHK->BHTS", query, key)).max() > 0.5


def test_llama3_scaling_leaves_short_waves_and_stretches_long_ones():
    scaling = RopeScaling(factor=32.0, low_freq_factor=1.0, high_freq_factor=4.0, original_context_length=8192)
    plain = np.asarray(rotary_frequencies(64, 5e5), np.float64)
    scaled = np.asarray(rotary_frequencies(64, 5e5, scaling), np.float64)
    wavelengths = 2 * np.pi / plain
    short, long = wavelengths < 8192 / 4, wavelengths > 8192
    between = ~short & ~long
    assert short.sum() > 4 and long.sum() > 4 and between.sum() >= 1
    np.testing.assert_allclose(scaled[short], plain[short], rtol=1e-6)
    np.testing.assert_allclose(scaled[long], plain[long] / 32, rtol=1e-6)
    smooth = (8192 / wavelengths[between] - 1) / 3
    np.testing.assert_allclose(scaled[between], ((1 - smooth) / 32 + smooth) * plain[between], rtol=1e-5)
    assert (np.diff(scaled) < 0).all()


def test_half_precision_keeps_its_dtype_and_turns_in_float32():
    x = jnp.ones((1, 1, 1, 4), jnp.bfloat16)
    turned = rotate(x, rotary_angles(jnp.array([[4001]]), 4, 1e4))
    assert turned.dtype == jnp.bfloat16
    angles = 4001 * np.array([1, 0.01])
    expected = np.r_[np.cos(angles) - np.sin(angles), np.cos(angles) + np.sin(angles)]
    np.testing.assert_allclose(np.asarray(turned, np.float64).ravel(), expected, atol=0.01)
