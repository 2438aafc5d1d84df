"""Images through affine maps against the same in float64."""

import jax
import numpy as np
import pytest

from genjax.layers import affine as resampling
from genjax.layers.affine import SYM6
from tests.layers.affine_formula import noise, reference, scale, shift, turn

affine = jax.jit(resampling.affine)


def test_the_filter_is_the_symlet_of_six_vanishing_moments():
    taps = np.array(SYM6)
    assert abs(taps.sum() - np.sqrt(2)) < 1e-10
    for k in range(6):
        assert abs(taps[: 12 - 2 * k] @ taps[2 * k :] - (k == 0)) < 1e-10
        assert abs(((-1.0) ** np.arange(12) * np.arange(-5.5, 6) ** k) @ taps) < 1e-6


@pytest.mark.parametrize("size", [(9, 9), (8, 13)])
def test_resampling_is_that_of_the_appendix(size):
    """Small and large changes; where these look far over the edges too."""
    rng = np.random.default_rng(1)
    maps = [np.eye(3)]
    for _ in range(11):
        ratio = np.exp(0.4 * rng.standard_normal(2))
        maps.append(scale(*ratio) @ turn(rng.uniform(-np.pi, np.pi)) @ shift(*(5 * rng.standard_normal(2))))
    maps.append(scale(3.0, 3.0) @ turn(1.0) @ shift(20.0, -9.0))
    images = noise(len(maps), *size, 2)
    found = affine(images, np.array(maps)[:, :2])
    np.testing.assert_allclose(found, reference(images, np.array(maps), 12 * max(size)), atol=2e-5)


def test_whole_pixels_only_move():
    images = noise(1, 10, 10, 3)
    same, moved = (np.array([[[1, 0, x], [0, 1, y]]], np.float32) for x, y in ((0, 0), (3, -2)))
    np.testing.assert_allclose(affine(images, same), images, atol=2e-6)
    expected = np.pad(images[0], [(2, 0), (0, 3), (0, 0)], mode="reflect")[:10, 3:]  # from 3 to the right, and 2 above
    np.testing.assert_allclose(affine(images, moved)[0], expected, atol=2e-6)


def test_a_quarter_turn_of_a_smooth_image():
    """Not to rounding: the filter is not quite symmetric."""
    wave = np.cos(np.pi * np.arange(12) / 11)
    images = (wave[:, None] + 0.5 * wave[None, :] ** 3)[None, :, :, None].astype(np.float32)
    turned = affine(images, turn(np.pi / 2)[None, :2].astype(np.float32))[0]
    np.testing.assert_allclose(turned, np.rot90(images[0]), atol=0.02)
