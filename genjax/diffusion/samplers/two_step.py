"""Samplers that ask the network more than once for a step."""

import math

from genjax.diffusion.grids import Grid
from genjax.diffusion.programs import (
    CLEAN,
    FRESH,
    KEPT1,
    KEPT2,
    NOISE,
    Evaluation,
    Program,
    Weights,
    X,
    assemble,
    check_start,
)
from genjax.diffusion.samplers.one_step import ancestral_split


def heun(grid: Grid) -> Program:
    """Heun's method for the probability-flow ODE in sigma / alpha (Karras et al., 2022, algorithm 1); Euler where a step ends
    clean. The slope in sigma / alpha is the predicted noise."""
    check_start("heun", grid)
    return edm(grid)


def flow_heun(grid: Grid) -> Program:
    """Heun's method along time for rectified flow: the slope is noise - clean."""
    evaluations = []
    for _, start, end in grid.steps():
        far, slope = end.sigma - start.sigma, NOISE - CLEAN
        evaluations.append(Evaluation(start, (X + far * slope, X, slope)))
        if end.sigma:
            evaluations.append(Evaluation(end, (KEPT1 + far / 2 * (KEPT2 + slope),)))
    return assemble(evaluations, grid)


def kdpm2(grid: Grid, ancestral: bool = False) -> Program:
    """DPM-Solver-2 as in k-diffusion: the slope of a step is that in its middle, by the logarithm of sigma / alpha (Karras et
    al., 2022, "DPM2"); ancestral: down to a level below the next, then noise up to it."""
    check_start("kdpm2", grid)
    evaluations = []
    for _, start, end in grid.steps():
        if not end.sigma:
            evaluations.append(Evaluation(start, (end.alpha * CLEAN,)))
            continue
        down, up = ancestral_split(start.ratio, end.ratio) if ancestral else (end.ratio, 0.0)
        middle = grid.level_at(math.exp((math.log(start.ratio) + math.log(down)) / 2))
        origin = X / start.alpha
        evaluations.append(Evaluation(start, (middle.alpha * (origin + (middle.ratio - start.ratio) * NOISE), origin)))
        evaluations.append(Evaluation(middle, (end.alpha * (KEPT1 + (down - start.ratio) * NOISE + up * FRESH),)))
    return assemble(evaluations, grid)


def edm(grid: Grid, churn: float = 0.0, churn_min: float = 0.0, churn_max: float = math.inf, noise_scale: float = 1.0) -> Program:
    """Heun's method with noise added before each step (Karras et al., 2022, algorithm 2).

    The grid's first level is raised by the first churn: start from noise of the program's first sigma.

    Args:
        churn, churn_min, churn_max, noise_scale: S_churn, S_tmin, S_tmax and S_noise, in sigma / alpha.
    """
    check_start("edm", grid)
    most = math.sqrt(2) - 1
    gammas = [min(churn / len(grid), most) if churn_min <= level.ratio <= churn_max else 0.0 for level in grid.starts]
    raised = [
        grid.level_at(level.ratio * (1 + gamma)) if gamma else level for level, gamma in zip(grid.starts, gammas, strict=True)
    ]

    def with_noise(x: Weights, number: int) -> Weights:
        """The sample that step `number` ends with, raised to where the next one starts."""
        if number + 1 == len(grid):
            return x
        level, higher = grid.starts[number + 1], raised[number + 1]
        added = noise_scale * math.sqrt(max(higher.ratio**2 - level.ratio**2, 0.0))
        return higher.alpha * (x / level.alpha + added * FRESH)

    evaluations = []
    for number, _, end in grid.steps():
        start = raised[number]
        origin, far = X / start.alpha, end.ratio - start.ratio
        straight = end.alpha * (origin + far * NOISE)
        if end.sigma:
            evaluations.append(Evaluation(start, (straight, origin, NOISE)))
            evaluations.append(Evaluation(end, (with_noise(end.alpha * (KEPT1 + far / 2 * (KEPT2 + NOISE)), number),)))
        else:
            evaluations.append(Evaluation(start, (straight,)))
    return assemble(evaluations, grid)


def dpm_sde(grid: Grid) -> Program:
    """DPM-Solver++ of second order for the SDE, as in k-diffusion's `sample_dpmpp_sde`, with the middle by log(sigma / alpha).

    Noise of the first half and of the whole step are of one Brownian motion over sigma / alpha.
    """
    check_start("dpm_sde", grid)
    evaluations = []
    for _, start, end in grid.steps():
        if not end.sigma:
            evaluations.append(Evaluation(start, (end.alpha * CLEAN,)))
            continue
        middle = grid.level_at(math.sqrt(start.ratio * end.ratio))
        down, up = ancestral_split(start.ratio, middle.ratio)
        origin = X / start.alpha
        half = down / start.ratio * origin + (1 - down / start.ratio) * CLEAN + up * FRESH
        evaluations.append(Evaluation(start, (middle.alpha * half, origin, FRESH)))
        down, up = ancestral_split(start.ratio, end.ratio)
        before, after = (math.sqrt(part) for part in (start.ratio - middle.ratio, middle.ratio - end.ratio))
        noise = (before * KEPT2 + after * FRESH) / math.sqrt(start.ratio - end.ratio)
        whole = down / start.ratio * KEPT1 + (1 - down / start.ratio) * CLEAN + up * noise
        evaluations.append(Evaluation(middle, (end.alpha * whole,)))
    return assemble(evaluations, grid)
