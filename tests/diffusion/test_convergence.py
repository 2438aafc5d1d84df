"""Solvers reach their order, and stochastic samplers the distribution, where the exact score is known."""

import jax
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from genjax.diffusion import grids, samplers
from genjax.diffusion.programs import run, starting_noise
from genjax.diffusion.schedules import EDM, RectifiedFlow, VarianceExploding, VariancePreserving
from genjax.errors import ConfigError
from tests.diffusion.mixtures import Mixture

MIXTURE = Mixture()
HIGHEST, LOWEST = 10.0, 0.05


@jax.jit
def solve(x, program):
    return run(MIXTURE.denoise, x, program, jax.random.split(jax.random.key(1), len(x)))[0]


def exact(start):
    """The probability-flow ODE of EDM, dx / dsigma = (x - clean) / sigma, by a method of order 8 in float64."""
    with jax.enable_x64():
        clean = jax.jit(MIXTURE.clean)
        slope = lambda sigma, x: (x - np.asarray(clean(x, 1.0, sigma))) / sigma  # noqa: E731
        return solve_ivp(slope, (HIGHEST, LOWEST), start, method="DOP853", rtol=1e-10, atol=1e-10).y[:, -1]


@pytest.mark.parametrize(
    "name, arguments, steps, order",
    [
        ("euler", {}, (32, 64, 128), 1),
        ("heun", {}, (16, 32, 64), 2),
        ("edm", {}, (16, 32, 64), 2),
        ("kdpm2", {}, (16, 32, 64), 2),
        ("lms", {"order": 2}, (32, 64, 128), 2),
        ("lms", {"order": 3}, (32, 64, 128), 3),
        ("deis", {"order": 2}, (32, 64, 128), 2),
        ("deis", {"order": 3}, (32, 64, 128), 3),
        ("dpm++_2m", {}, (32, 64, 128), 2),
        ("dpm++_3m", {}, (32, 64, 128), 2),  # see its docstring
        ("dpm++_2s", {}, (32, 64, 128), 2),
        ("dpm++_3s", {}, (32, 65, 128), 3),  # the last group of two steps is of order 2
        ("unipc", {}, (32, 64, 128), 2),  # its last step is of order 1
    ],
)
def test_order(name, arguments, steps, order):
    """Errors fall as the power of the steps that the method has."""
    start = np.linspace(-1.8, 1.8, 41) * HIGHEST
    expected = exact(start)
    errors = []
    for count in steps:
        grid = grids.ratio_grid(EDM(), grids.karras_ratios(count + 1, LOWEST, HIGHEST), end="last")
        program = samplers.SAMPLERS[name](grid, **arguments)
        found = solve(start[None].astype(np.float32), program)
        errors.append(np.abs(np.asarray(found[0], np.float64) - expected).mean())
    slopes = -np.diff(np.log(errors)) / np.log(2)
    assert slopes[-1] > order - 0.35, (errors, slopes)


GRIDS = {
    "vp": grids.ratio_grid(VariancePreserving(), grids.karras_ratios(200, 0.01, 100.0)),
    "ve": grids.ratio_grid(VarianceExploding(0.01, 50.0), grids.karras_ratios(200, 0.01, 50.0)),
    "flow": grids.time_grid(RectifiedFlow(), np.append(np.linspace(0.999, 0.01, 200), 0)),
}
NAMES = ("ddpm", "ddim", "euler_ancestral", "dpm++_2m_sde", "dpm++_3m_sde", "dpm++_sde", "unipc", "predictor_corrector")


@pytest.mark.parametrize(
    "name, process",
    [*((name, "vp") for name in NAMES), ("ddpm", "ve"), ("predictor_corrector", "ve"), ("dpm++_2m_sde", "flow")],
)
def test_distribution(name, process):
    """Share, mean and spread of each part of the mixture."""
    program = samplers.SAMPLERS[name](GRIDS[process])
    start = starting_noise(program, jax.random.split(jax.random.key(1), 64), (128,))
    found = np.asarray(solve(start, program)).ravel()
    low = found < -0.2
    # Of 8,192 draws these deviate by 0.005 (share), 0.005 and 0.0033 (means), and 0.0036 (spreads).
    assert abs(low.mean() - 0.3) < 0.02
    assert abs(found[low].mean() + 1.0) < 0.02 and abs(found[~low].mean() - 0.6) < 0.02
    assert abs(found[low].std() - 0.25) < 0.02 and abs(found[~low].std() - 0.25) < 0.02


def test_corrections_bring_the_distribution_nearer():
    """In few steps, in which the predictor alone makes too few of the smaller part, 0.3 (Song et al., 2021, table 1)."""
    grid = grids.ratio_grid(VarianceExploding(0.01, 50.0), grids.exponential_ratios(8, 0.01, 50.0))
    shares = []
    for corrections in (0, 2, 8):
        program = samplers.SAMPLERS["predictor_corrector"](grid, snr=0.4, corrections=corrections)
        found = np.asarray(solve(starting_noise(program, jax.random.split(jax.random.key(1), 64), (128,)), program)).ravel()
        shares.append((found < -0.2).mean())
    assert shares == sorted(shares) and shares[0] < 0.24 and 0.26 < shares[-1] < 0.32  # 8,192 draws: 0.005
    with pytest.raises(ConfigError, match="snr must lie between 0 and 1"):
        samplers.SAMPLERS["predictor_corrector"](grid, snr=2.0)
