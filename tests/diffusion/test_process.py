"""What a model is trained by and where it is asked: each process against its paper's formulas, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.diffusion.process import Process, ProcessConfig
from genjax.errors import ConfigError

KEY = jax.random.key(3)
CLEAN = np.random.default_rng(0).uniform(-1, 1, (6, 4, 4, 2)).astype(np.float32)
OUTPUT = np.random.default_rng(1).standard_normal(CLEAN.shape).astype(np.float32)


def noisy(**config):
    process = Process(ProcessConfig(**config))
    return process, process.noisy(KEY, jnp.asarray(CLEAN), jnp.linspace(0.05, 0.95, len(CLEAN)))


def wide(values):
    return np.asarray(values, np.float64)[:, None, None, None]


def mean(values):
    return np.asarray(values, np.float64).reshape(len(CLEAN), -1).mean(1)


def test_ddpm_learns_the_noise_evenly_over_its_timesteps():
    """Ho et al., 2020, equation 14."""
    process, at = noisy()
    assert np.asarray(at.time).tolist() == [50, 230, 410, 590, 770, 950]
    left = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))[np.asarray(at.time)]
    expected = np.sqrt(wide(left)) * CLEAN + np.sqrt(1 - wide(left)) * np.asarray(at.noise)
    np.testing.assert_allclose(at.x, expected, atol=2e-6)
    np.testing.assert_allclose(process.losses(jnp.asarray(OUTPUT), at), mean((OUTPUT - np.asarray(at.noise)) ** 2), rtol=1e-5)
    x, told = process.network_input(at.x, at.time, at.alpha, at.sigma)
    assert (x == at.x).all() and (told == at.time).all()


def test_edm_is_table_1_of_its_paper():
    """Karras et al., 2022: c_in, c_noise, c_skip, c_out, and the loss lambda(sigma) |D - clean|^2 of equation 8."""
    process, at = noisy(schedule="edm", prediction="edm", weighting="edm", drawn="log_normal", time_scale=1.0)
    sigma, data = np.asarray(at.sigma, np.float64), 0.5
    assert (np.asarray(at.alpha) == 1).all() and np.log(sigma).mean() == pytest.approx(-1.2, abs=1e-3)
    x, told = process.network_input(at.x, at.time, at.alpha, at.sigma)
    np.testing.assert_allclose(x, np.asarray(at.x) / np.sqrt(wide(sigma) ** 2 + data**2), rtol=2e-6)
    np.testing.assert_allclose(told, np.log(sigma) / 4, atol=1e-6)
    skip, out = data**2 / (sigma**2 + data**2), sigma * data / np.sqrt(sigma**2 + data**2)
    denoised = wide(skip) * np.asarray(at.x) + wide(out) * OUTPUT
    expected = (sigma**2 + data**2) / (sigma * data) ** 2 * mean((denoised - CLEAN) ** 2)
    np.testing.assert_allclose(process.losses(jnp.asarray(OUTPUT), at), expected, rtol=1e-4)
    np.testing.assert_allclose(process.predict(jnp.asarray(OUTPUT), at.x, at.alpha, at.sigma).clean, denoised, atol=1e-5)


def test_flow_learns_the_velocity():
    """Lipman et al., 2023; times shifted as by Esser et al., 2024, equation 23."""
    process, at = noisy(schedule="flow", prediction="flow", earliest=0.0, time_shift=3.0)
    share = np.linspace(0.05, 0.95, len(CLEAN))
    times = 3 * share / (1 + 2 * share)
    np.testing.assert_allclose(at.time, times, rtol=1e-6)
    np.testing.assert_allclose(at.x, (1 - wide(times)) * CLEAN + wide(times) * np.asarray(at.noise), atol=1e-6)
    expected = mean((OUTPUT - (np.asarray(at.noise, np.float64) - CLEAN)) ** 2)
    np.testing.assert_allclose(process.losses(jnp.asarray(OUTPUT), at), expected, rtol=1e-5)
    np.testing.assert_allclose(process.network_input(at.x, at.time, at.alpha, at.sigma)[1], 1000 * times, rtol=1e-6)
    grid = process.grid(4)
    np.testing.assert_allclose(
        [level.time for level in grid.starts], 3 * np.array([1, 0.75, 0.5, 0.25]) / (1 + 2 * np.array([1, 0.75, 0.5, 0.25]))
    )
    assert grid.ends[-1].sigma == 0


def test_the_hybrid_loss_teaches_the_mean_by_the_squared_error_alone():
    """Nichol and Dhariwal, 2021, section 3.1: L_simple + 0.001 L_vlb per step, with the mean held fast in the bound."""
    process, at = noisy(schedule="cosine", timesteps=40, variance="learned")
    plain, same = noisy(schedule="cosine", timesteps=40)
    both = jnp.concatenate([jnp.asarray(OUTPUT), 0.3 * jnp.asarray(OUTPUT[::-1])], -1)
    gradient = jax.grad(lambda output: process.losses(output, at).sum())(both)
    alone = jax.grad(lambda output: plain.losses(output, same).sum())(jnp.asarray(OUTPUT))
    np.testing.assert_array_equal(gradient[..., :2], alone)
    assert np.abs(gradient[..., 2:]).min() > 0
    # The lower bound of the variance is the posterior's: there the bound is plain DDPM's.
    lowest = jnp.concatenate([jnp.asarray(OUTPUT), -jnp.ones_like(OUTPUT)], -1)
    found = process.losses(lowest, at) - plain.losses(jnp.asarray(OUTPUT), same)
    bound = plain.bound(plain.predict(jnp.asarray(OUTPUT), same.x, same.alpha, same.sigma), same)
    np.testing.assert_allclose(found, 40 / 1000 * bound, rtol=2e-3)


def test_a_stratified_batch_covers_the_levels():
    shares = np.sort(Process(ProcessConfig(stratified=True)).draw_shares(KEY, 64))
    assert ((shares * 64).astype(int) == np.arange(64)).all()
    plain = np.sort(Process(ProcessConfig()).draw_shares(KEY, 64))
    assert ((plain * 64).astype(int) != np.arange(64)).any()


@pytest.mark.parametrize("schedule", ["linear", "cosine", "vp", "ve", "edm", "flow"])
def test_a_grid_falls_from_the_noisiest_level_to_the_clean_sample(schedule):
    process = Process(ProcessConfig(schedule=schedule))
    grid = process.grid(7)
    ratios = [level.ratio for level in grid.starts] + [grid.ends[-1].ratio]
    assert len(grid) == 7 and ratios[-1] == 0 and (np.diff([1 / (1 + ratio) for ratio in ratios]) > 0).all()
    highest = {"linear": 157.4, "vp": 152.2, "ve": 80.0, "edm": 80.0}.get(schedule)
    assert highest is None or ratios[0] == pytest.approx(highest, rel=2e-3)
    for spacing in ("karras", "exponential") if schedule not in ("flow", "cosine") else ():
        other = process.grid(7, spacing)
        assert other.starts[0].ratio == pytest.approx(ratios[0]) and other.ends[-1].sigma == 0


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"schedule": "edm", "variance": "learned"}, "variance 'learned' needs a schedule of betas"),
        ({"zero_terminal_snr": True}, "a network that predicts v or the sample"),
        ({"zero_terminal_snr": True, "prediction": "v", "variance": "learned"}, "do not go together"),
        ({"drawn": "log_normal"}, "'log_normal' is for edm, not for 'linear'"),
        ({"drawn": "logit_normal", "schedule": "ve"}, "is for vp and flow"),
        ({"schedule": "ve", "sigma_min": 2.0, "sigma_max": 1.0}, "sigma_min is 2.0, which is not below sigma_max 1.0"),
        ({"sigma_data": 0.0}, "sigma_data is 0.0; it must be above 0"),
        ({"earliest": 1.0}, "earliest is 1.0"),
    ],
)
def test_what_does_not_go_together(config, message):
    with pytest.raises(ConfigError, match=message):
        ProcessConfig(**config)


@pytest.mark.parametrize(
    ("config", "arguments", "message"),
    [
        ({}, (0,), "0 steps were asked for"),
        ({}, (1001,), "ask for 1 to 1000"),
        ({}, (5, "evenly"), "unknown spacing 'evenly' for a process 'linear'; use one of linspace"),
        ({"schedule": "edm"}, (5, "trailing"), "use one of uniform, karras"),
        ({"schedule": "flow"}, (5, "karras"), "infinite where a process 'flow' starts; use uniform"),
        ({"zero_terminal_snr": True, "prediction": "v"}, (5, "karras"), "use linspace or leading or trailing or uniform"),
    ],
)
def test_grids_that_there_are_not(config, arguments, message):
    with pytest.raises(ConfigError, match=message):
        Process(ProcessConfig(**config)).grid(*arguments)
