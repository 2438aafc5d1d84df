"""Samplers of few steps, for networks that were made to tell the clean sample at once."""

import math

from genjax.diffusion.grids import Grid
from genjax.diffusion.programs import CLEAN, FRESH, Evaluation, Program, X, assemble


def lcm(grid: Grid, sigma_data: float = 0.5, time_scale: float = 10.0) -> Program:
    """Latent consistency models (Luo et al., 2023, algorithm 3): the consistency function, then noise of the next level.

    Args:
        time_scale: timesteps are multiplied by it where the function is weighed between sample and prediction.
    """
    evaluations = []
    for number, start, end in grid.steps():
        scaled = time_scale * start.time
        skip = sigma_data**2 / (scaled**2 + sigma_data**2)
        clean = skip * X + scaled / math.hypot(scaled, sigma_data) * CLEAN
        last = number + 1 == len(grid)
        evaluations.append(Evaluation(start, (clean if last else end.alpha * clean + end.sigma * FRESH,)))
    return assemble(evaluations, grid)


def consistency(grid: Grid) -> Program:
    """Multistep consistency sampling (Song et al., 2023, algorithm 1): the clean sample, then noise of the next level. The
    denoiser is the consistency function itself."""
    evaluations = [Evaluation(start, (end.alpha * CLEAN + end.sigma * FRESH,)) for _, start, end in grid.steps()]
    return assemble(evaluations, grid)
