"""Power-function averages against the integrals that define them; made of stored ones, against those kept all along."""

import jax.numpy as jnp
import numpy as np
import pytest

from genjax.storage.power_averages import WIDEST, combination, exponent, update_rate

STDS = (0.05, 0.10)


def weights(std, steps):
    """Of x_1 ... x_T in the average at T: the integral of the profile over each step."""
    return np.diff((np.arange(steps + 1) / steps) ** (exponent(std) + 1))


@pytest.mark.parametrize("std", [0.01, 0.05, 0.1, 0.2, WIDEST])
def test_the_exponent_has_the_width_that_it_is_named_by(std):
    t = (np.arange(400_000) + 0.5) / 400_000
    profile = (exponent(std) + 1) * t ** exponent(std)
    mean = np.mean(profile * t)
    assert np.sqrt(np.mean(profile * (t - mean) ** 2)) == pytest.approx(std, rel=1e-5)


def test_the_published_exponents():
    assert [round(exponent(std), 2) for std in STDS] == [16.97, 6.94] and exponent(WIDEST) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("std", [0.05, 0.2])
def test_step_by_step_it_is_the_integral(std):
    values = np.random.default_rng(0).standard_normal(200)
    average = 7.0  # where it begins does not matter
    for step, value in enumerate(values, 1):
        average += (value - average) * float(update_rate(jnp.float32(step), std))
        if step in (1, 2, 50, 200):
            assert average == pytest.approx(weights(std, step) @ values[:step], abs=2e-6)


def test_the_rate_is_exact_where_it_is_tiny():
    for step in (10.0, 1e4, 1e6, 1e7):
        expected = -np.expm1((exponent(0.05) + 1) * np.log1p(-1 / step))
        assert float(update_rate(jnp.float32(step), 0.05)) == pytest.approx(expected, rel=1e-6)


def test_a_stored_average_is_made_of_itself_alone():
    steps, stds = np.repeat(np.arange(1, 65) * 100, 2), np.tile(STDS, 64)
    for wanted in (126, 127, 40):
        factors, error = combination(steps, stds, steps[wanted], stds[wanted])
        expected = np.zeros(128)
        expected[wanted] = 1
        np.testing.assert_allclose(factors, expected, atol=1e-10)
        assert error < 1e-6


@pytest.mark.parametrize("wanted", [0.06, 0.13, 0.2])
def test_another_average_comes_closer_the_more_are_stored(wanted):
    """Of a random walk, as far as weights wander, and of a smooth fall; and the error that is told is that of the profiles."""
    total = 4096
    rng = np.random.default_rng(0)
    sequences = np.cumsum(rng.standard_normal(total)) / np.sqrt(total), np.exp(-np.arange(total) / 400)
    errors = []
    for count in (4, 8, 16, 32, 64):
        steps, stds = np.repeat(np.arange(1, count + 1) * (total // count), 2), np.tile(STDS, count)
        factors, error = combination(steps, stds, total, wanted)
        made = sum(f * np.pad(weights(std, s), (0, total - s)) for f, s, std in zip(factors, steps, stds, strict=True))
        target = weights(wanted, total)
        assert error == pytest.approx(np.linalg.norm(made - target) / np.linalg.norm(target), rel=0.02, abs=1e-3)
        errors.append([error, *(abs((made - target) @ x) for x in sequences)])
        assert factors.sum() == pytest.approx(1)
    errors = np.array(errors)
    assert (errors[1:, 0] < 0.5 * errors[:-1, 0]).all()
    assert (errors[[0, 2, 4]] < {0.06: 0.2, 0.13: 0.08, 0.2: 0.35}[wanted] * np.array([[1], [0.1], [0.01]])).all()
