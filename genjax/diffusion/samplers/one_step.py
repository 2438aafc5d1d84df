"""Samplers that ask the network once a step and keep nothing."""

import math

from genjax.diffusion.grids import Grid, Level, forward_scale, forward_variance
from genjax.diffusion.programs import CLEAN, FRESH, NOISE, Evaluation, Program, Weights, X, assemble
from genjax.errors import ConfigError


def ddim(grid: Grid, eta: float = 0.0) -> Program:
    """DDIM (Song et al., 2021, equations 12 and 16): eta 0 is deterministic, 1 as noisy as DDPM.

    On `grid.reversed()` it inverts: from a clean sample to the noise that it comes from. With eta 0 it is also the Euler method
    for the probability-flow ODE in sigma / alpha (there, section 4.3), and for the straight line of rectified flow.
    """
    return assemble([Evaluation(start, (ddim_weights(start, end, eta),)) for _, start, end in grid.steps()], grid)


def ddim_weights(start: Level, end: Level, eta: float) -> Weights:
    """A step of DDIM."""
    std = eta * math.sqrt(posterior_variance(start, end)) if eta else 0.0
    return end.alpha * CLEAN + math.sqrt(max(end.sigma**2 - std**2, 0.0)) * NOISE + std * FRESH


def euler(grid: Grid) -> Program:
    """The Euler method for the probability-flow ODE in sigma / alpha (Karras et al., 2022, algorithm 1 without its second
    half): the same numbers as deterministic DDIM."""
    return ddim(grid)


def euler_ancestral(grid: Grid, eta: float = 1.0) -> Program:
    """Euler down to a level below the next, then noise up to it (k-diffusion's `sample_euler_ancestral`)."""
    evaluations = []
    for _, start, end in grid.steps():
        down, up = ancestral_split(start.ratio, end.ratio, eta)
        evaluations.append(Evaluation(start, (end.alpha * (CLEAN + down * NOISE + up * FRESH),)))
    return assemble(evaluations, grid)


def ddpm(grid: Grid, variance: str = "small") -> Program:
    """Ancestral sampling of DDPM (Ho et al., 2020, equations 6 and 7; between any two levels as in Nichol and Dhariwal, 2021).

    Args:
        variance: of the noise of a step: "small", the posterior's; "large", that of the forward step; "learned", between the two
            where the network says (`Prediction.variance`).

    Raises:
        ConfigError: another variance.
    """
    if variance not in ("small", "large", "learned"):
        raise ConfigError(f"unknown variance '{variance}' of DDPM; use small, large or learned.")
    evaluations = []
    for _, start, end in grid.steps():
        small, large = posterior_variance(start, end), forward_variance(start, end)
        mean = posterior_mean(start, end)
        if not small:
            evaluations.append(Evaluation(start, (mean,)))
        elif variance == "learned":
            evaluations.append(Evaluation(start, (mean + FRESH,), (math.log(small), math.log(large))))
        else:
            std = math.sqrt(small if variance == "small" else large)
            evaluations.append(Evaluation(start, (mean + std * FRESH,)))
    return assemble(evaluations, grid)


def ancestral_split(start: float, end: float, eta: float = 1.0) -> tuple[float, float]:
    """(down, up), down^2 + up^2 = end^2: how far to go without noise from sigma / alpha `start`, and how much to add."""
    up = min(end, eta * end * math.sqrt(max(1 - (end / start) ** 2, 0.0))) if end else 0.0
    return math.sqrt(max(end**2 - up**2, 0.0)), up


def posterior_mean(start: Level, end: Level) -> Weights:
    """Of the sample at `end`, where that at `start` and the clean one are known."""
    variance = start.sigma**2
    return forward_scale(start, end) * end.sigma**2 / variance * X + end.alpha * forward_variance(start, end) / variance * CLEAN


def posterior_variance(start: Level, end: Level) -> float:
    """Of the sample at `end`, where that at `start` and the clean one are known."""
    return forward_variance(start, end) * end.sigma**2 / start.sigma**2
