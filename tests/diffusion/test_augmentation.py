"""Non-leaky augmentation: what was done to images is what their labels say."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.diffusion import augmentation
from tests.layers.affine_formula import noise, reference, scale, shift, turn

augment_edm = jax.jit(augmentation.augment_edm)


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
