"""Principal directions, against NumPy's singular values in float64."""

import jax
import numpy as np

from genjax.adversarial import directions

RNG = np.random.default_rng(0)
SAMPLES = RNG.standard_normal((200, 5)) * [3, 0.5, 2, 1, 0.1] @ np.linalg.qr(RNG.standard_normal((5, 5)))[0] + 4


def test_components_are_the_right_singular_vectors():
    found = jax.jit(directions.principal)(SAMPLES.astype(np.float32))
    _, values, rows = np.linalg.svd(SAMPLES - SAMPLES.mean(0), full_matrices=False)
    rows = rows * np.sign(rows[np.arange(5), np.abs(rows).argmax(1)])[:, None]
    np.testing.assert_allclose(found.deviations, values / np.sqrt(199), rtol=1e-3)
    np.testing.assert_allclose(found.components, rows, atol=1e-4)
    assert (np.asarray(found.components)[np.arange(5), np.abs(rows).argmax(1)] > 0).all()


def test_a_shift_is_so_many_deviations_in_some_layers():
    found = directions.principal(SAMPLES.astype(np.float32))
    styles = RNG.standard_normal((2, 3, 5)).astype(np.float32)
    layers = np.array([[True, False, True], [True, True, True]])
    moved = directions.shifted(styles, found, np.array([1, 4]), np.array([-2.0, 0.0], np.float32), layers)
    expected = -2 * float(found.deviations[1]) * np.asarray(found.components[1])
    np.testing.assert_allclose(moved[0, ::2] - styles[0, ::2], np.broadcast_to(expected, (2, 5)), atol=1e-5)
    np.testing.assert_array_equal(moved[0, 1], styles[0, 1])
    np.testing.assert_array_equal(moved[1], styles[1])
