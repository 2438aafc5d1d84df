"""Non-leaky augmentation against its steps in float64: zeros between pixels, filters, and torch's own sampling between."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.diffusion import augmentation
from genjax.diffusion.augmentation import SYM6

affine, augment_edm = jax.jit(augmentation.affine), jax.jit(augmentation.augment_edm)


def noise(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def turn(angle):
    return np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])


def scale(x, y):
    return np.diag([x, y, 1.0])


def shift(x, y):
    return np.array([[1.0, 0, x], [0, 1, y], [0, 0, 1]])


def convolved(values, taps, axis):
    """The full convolution along an axis, which becomes longer by one less than there are taps."""
    values = np.moveaxis(values, axis, 0)
    result = np.zeros((len(values) + len(taps) - 1, *values.shape[1:]))
    for place, tap in enumerate(taps):
        result[place : place + len(values)] += tap * values
    return np.moveaxis(result, 0, axis)


def reference(images, maps, margin):
    """The appendix's resampling, step by step: reflect, double with sym6, affine_grid and grid_sample, halve with sym6."""
    import torch
    from torch.nn import functional

    taps, edge = np.array(SYM6), 3  # pixels that the filter reaches over an image's edge
    padded = np.pad(images.astype(np.float64), [(0, 0), (margin, margin), (margin, margin), (0, 0)], mode="reflect")
    for axis in (1, 2):
        stuffed = np.zeros([size * (2 if i == axis else 1) for i, size in enumerate(padded.shape)])
        np.moveaxis(stuffed, axis, 0)[::2] = np.moveaxis(padded, axis, 0)
        padded = np.take(convolved(stuffed, taps, axis), np.arange(stuffed.shape[axis]) + 5, axis)
    (batch, height, width, channels), (doubled_height, doubled_width) = images.shape, padded.shape[1:3]
    shape = (2 * (height + 2 * edge), 2 * (width + 2 * edge))
    # Pixel centres of the doubled image lie half a pixel of it to the left of those of the image.
    between = np.array([shift(-0.5, -0.5) @ scale(2, 2) @ m @ scale(0.5, 0.5) @ shift(0.5, 0.5) for m in maps])
    theta = scale(2 / doubled_width, 2 / doubled_height) @ between @ scale(shape[1] / 2, shape[0] / 2)
    grid = functional.affine_grid(torch.from_numpy(theta[:, :2]), [batch, channels, *shape], align_corners=False)
    pixels = torch.from_numpy(np.ascontiguousarray(padded.transpose(0, 3, 1, 2)))
    seen = functional.grid_sample(pixels, grid, mode="bilinear", padding_mode="zeros", align_corners=False).numpy()
    seen = seen.transpose(0, 2, 3, 1)
    for axis in (1, 2):
        seen = np.take(convolved(seen, taps[::-1], axis), np.arange(0, seen.shape[axis], 2) + 6, axis)
    return seen[:, edge:-edge, edge:-edge]


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


@pytest.mark.parametrize("size", [(12, 12), (9, 14)])
def test_labels_say_what_was_done(size):
    """From the nine numbers alone, by the public code's order of matrices, the same images come out."""
    height, width = size
    images = noise(24, *size, 1)
    found, labels = augment_edm(jax.random.key(3), images, 0.7)
    labels = np.asarray(labels, np.float64)
    assert labels.shape == (24, 9) and set(labels[:, :2].ravel()) == {0, 1}
    x_flip, y_flip = (labels[:, i, None, None, None] == 1 for i in (0, 1))
    flipped = np.where(x_flip, images[:, :, ::-1], images)
    flipped = np.where(y_flip, flipped[:, ::-1], flipped)
    candidates = []
    # The axis of stretching is known but for half a turn, which is the same as the opposite stretch: one of the two was done.
    for sign in (1, -1):
        maps = []
        for s, cos, sin, across, along, x, y in labels[:, 2:]:
            angle, axis, a = np.arctan2(sin, cos + 1), np.arctan2(along, across), sign * np.hypot(across, along)
            larger, stretched = scale(2 ** (-0.2 * s), 2 ** (-0.2 * s)), scale(2 ** (-0.2 * a), 2 ** (0.2 * a))
            move = shift(-0.125 * width * x, -0.125 * height * y)
            maps.append(larger @ turn(angle) @ turn(-axis) @ stretched @ turn(axis) @ move)
        candidates.append(reference(flipped, np.array(maps), 6 * max(size)))
    errors = np.abs(np.array(candidates) - np.asarray(found)).max(axis=(2, 3, 4)).min(axis=0)
    assert errors.max() < 5e-5 and np.abs(np.asarray(found) - images).max() > 1


def test_how_often_and_how_much():
    count, share = 20_000, 0.3
    labels = np.asarray(augment_edm(jax.random.key(0), jnp.zeros((count, 2, 2, 1)), share)[1])
    made = labels != 0
    tolerance = 5 * 0.5 / np.sqrt(count)
    expected = [0.5, share / 2, share, share, share, share, share, share, share]
    expected[6] = share / 2  # the sine of an axis that is turned half of the time
    np.testing.assert_allclose(made.mean(axis=0), expected, atol=tolerance)
    assert (made[:, 7] == made[:, 8]).all() and (made[:, 3] <= made[:, 4]).all()
    spread = lambda values: values[values != 0].std()  # noqa: E731
    wide = 5 / np.sqrt(2 * share * count)
    assert (
        abs(spread(labels[:, 2]) - 1) < wide and abs(spread(np.hypot(labels[:, 5], labels[:, 6])) ** 2 - (1 - 2 / np.pi)) < wide
    )
    assert abs(spread(labels[:, 7]) - 1) < wide and abs(spread(labels[:, 8]) - 1) < wide
    angles = np.arctan2(labels[:, 4], labels[:, 3] + 1)[made[:, 4]]
    assert abs(angles.std() - np.pi / np.sqrt(3)) < 0.1 and np.abs(angles).max() > 3.1
    correlations = np.corrcoef(labels[:, [0, 1, 2, 4, 5, 7, 8]].T)
    assert np.abs(correlations - np.eye(7)).max() < 0.05


def test_nothing_done_is_the_same_bits_and_zeros():
    images = noise(64, 6, 6, 3)
    found, labels = augment_edm(jax.random.key(0), images, 0.0)
    flips = np.asarray(labels[:, 0]) == 1
    assert 10 < flips.sum() < 54 and not np.asarray(labels[:, 1:]).any()
    np.testing.assert_array_equal(found, np.where(flips[:, None, None, None], images[:, :, ::-1], images))
    found, labels = augment_edm(jax.random.key(0), images, 0.2)
    same = ~np.asarray(labels[:, 2:]).any(axis=1)
    x_flip, y_flip = (np.asarray(labels[:, i])[:, None, None, None] == 1 for i in (0, 1))
    expected = np.where(x_flip, images[:, :, ::-1], images)
    expected = np.where(y_flip, expected[:, ::-1], expected)
    assert 5 < same.sum() < 60
    np.testing.assert_array_equal(np.asarray(found)[same], expected[same])


def test_the_probability_is_traced_and_the_dtype_stays():
    traces = []

    @jax.jit
    def run(key, images, probability):
        traces.append(1)
        return augmentation.augment_edm(key, images, probability)

    images = jnp.asarray(noise(8, 4, 4, 3), jnp.bfloat16)
    shares = [float((run(jax.random.key(0), images, p)[1][:, 2] != 0).mean()) for p in (0.0, 1.0)]
    assert shares == [0.0, 1.0] and len(traces) == 1
    found, labels = run(jax.random.key(0), images, 0.5)
    assert found.dtype == jnp.bfloat16 and labels.dtype == jnp.float32
    again = run(jax.random.key(0), images, 0.5)
    np.testing.assert_array_equal(found, again[0])
