"""Forward processes: the numbers of diffusers, and what must hold of any of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genjax.diffusion import grids
from genjax.diffusion.schedules import (
    EDM,
    DiscreteSchedule,
    RectifiedFlow,
    VarianceExploding,
    VariancePreserving,
    make_betas,
    shift_time,
    zero_terminal_snr,
)
from genjax.errors import ConfigError

THEIRS = {"linear": "linear", "scaled_linear": "scaled_linear", "cosine": "squaredcos_cap_v2", "sigmoid": "sigmoid"}
SCHEDULES = {
    "discrete": (DiscreteSchedule(make_betas("linear")), 0.0, 999.0),
    "cosine": (DiscreteSchedule(make_betas("cosine")), 0.0, 999.0),
    "vp": (VariancePreserving(), 1e-3, 1.0),
    "ve": (VarianceExploding(), 0.0, 1.0),
    "edm": (EDM(), 0.002, 80.0),
    "flow": (RectifiedFlow(), 1e-3, 0.999),
    "flow of 1000": (RectifiedFlow(1000.0), 1.0, 999.0),
}


@pytest.mark.parametrize("name", THEIRS)
@pytest.mark.parametrize("zero", [False, True])
def test_betas_of_diffusers(name, zero):
    from diffusers import DDPMScheduler

    theirs = DDPMScheduler(beta_schedule=THEIRS[name], rescale_betas_zero_snr=zero).alphas_cumprod.numpy()
    betas = make_betas(name)
    schedule = DiscreteSchedule(zero_terminal_snr(betas) if zero else betas)
    alpha, sigma = schedule.levels(np.arange(1000))
    np.testing.assert_allclose(alpha**2, theirs, rtol=3e-5, atol=1e-6)  # theirs are products in float32
    assert (alpha[-1] == 0) == zero
    np.testing.assert_allclose(alpha**2 + sigma**2, 1, atol=1e-12)


@pytest.mark.parametrize("name", SCHEDULES)
def test_noise_only_grows(name):
    schedule, low, high = SCHEDULES[name]
    alpha, sigma = schedule.levels(np.linspace(low, high, 200))
    ratio = sigma / alpha
    assert (np.diff(ratio) > 0).all() and (np.diff(alpha) <= 0).all() and (np.diff(sigma) >= 0).all()


@pytest.mark.parametrize("name", SCHEDULES)
@settings(deadline=None)
@given(place=st.floats(0, 1))
def test_times_and_ratios_are_each_others_inverse(name, place):
    schedule, low, high = SCHEDULES[name]
    time = np.asarray(low + place * (high - low))
    time = np.rint(time) if isinstance(schedule, DiscreteSchedule) else time  # between them each interpolates in its own way
    alpha, sigma = schedule.levels(time)
    np.testing.assert_allclose(schedule.time_of(sigma / alpha), time, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", SCHEDULES)
def test_traced_levels_are_those_of_numpy(name):
    schedule, low, high = SCHEDULES[name]
    times = np.linspace(low, high, 17)
    given = [np.rint(times).astype(np.int32), times] if isinstance(schedule, DiscreteSchedule) else [times]
    for times in given:
        traced = jax.jit(schedule.levels)(jnp.asarray(times))
        for ours, exact in zip(traced, schedule.levels(times), strict=True):
            np.testing.assert_allclose(ours, exact, rtol=1e-4, atol=1e-6)


def test_continuous_processes_are_their_equations():
    time = np.linspace(0.01, 1, 50)
    alpha, sigma = VariancePreserving(0.1, 20.0).levels(time)
    np.testing.assert_allclose(alpha, np.exp(-0.25 * time**2 * 19.9 - 0.5 * time * 0.1), rtol=1e-12)
    np.testing.assert_allclose(alpha**2 + sigma**2, 1, rtol=1e-12)
    np.testing.assert_allclose(VarianceExploding(0.01, 50.0).levels(np.asarray([0.0, 0.5, 1.0]))[1], [0.01, np.sqrt(0.5), 50])
    assert shift_time(0.5, 3.0) == 0.75 and shift_time(1.0, 3.0) == 1 and shift_time(0.0, 3.0) == 0


def test_timesteps_of_the_table():
    """Lin et al., 2023, table 2: 10 of 1,000, counted from 0."""
    assert grids.spaced_timesteps("leading", 1000, 10).tolist() == [900, 800, 700, 600, 500, 400, 300, 200, 100, 0]
    assert grids.spaced_timesteps("linspace", 1000, 10).tolist() == [999, 888, 777, 666, 555, 444, 333, 222, 111, 0]
    assert grids.spaced_timesteps("trailing", 1000, 10).tolist() == [999, 899, 799, 699, 599, 499, 399, 299, 199, 99]


def test_strength_takes_the_last_steps():
    grid = grids.discrete_grid(SCHEDULES["discrete"][0], grids.spaced_timesteps("trailing", 1000, 10))
    assert [level.time for level in grid.after(0.3).starts] == [299, 199, 99] and grid.after(1.0).starts == grid.starts
    assert len(grid.after(0.01)) == 1
    for strength in (0.0, 1.2):
        with pytest.raises(ConfigError, match="strength is"):
            grid.after(strength)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: make_betas("quadratic"), "unknown beta schedule 'quadratic'; use linear"),
        (lambda: make_betas("linear", 1000, 0.02, 0.01), "0 < start < end < 1"),
        (
            lambda: grids.spaced_timesteps("linspace", 100, 101),
            "101 steps were asked for; the model was trained with 100 timesteps; ask for 1 to 100",
        ),
        (lambda: grids.spaced_timesteps("even", 100, 10), "unknown timestep spacing 'even'"),
    ],
)
def test_what_is_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()
