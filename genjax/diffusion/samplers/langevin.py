"""Samplers that also move along the density at one level."""

from genjax.diffusion.grids import Grid
from genjax.diffusion.programs import FRESH, NOISE, Evaluation, Program, X, assemble
from genjax.diffusion.samplers.one_step import posterior_mean, posterior_variance
from genjax.errors import ConfigError


def predictor_corrector(grid: Grid, snr: float = 0.16, corrections: int = 1) -> Program:
    """Predictor-corrector sampling (Song et al., 2021, algorithms 1, 4 and 5): at each level steps of annealed Langevin dynamics,
    then ancestral sampling to the next.

    Their step size, 2 (snr |noise| / |score|)^2, is taken at what the two norms are for noise that is predicted well: 2 (snr
    sigma)^2. So the table stays one of numbers that are known beforehand.

    Args:
        snr: of a correction: how far it moves, in standard deviations of the noise.
        corrections: at each level.

    Raises:
        ConfigError: snr outside of (0, 1), or fewer than no corrections.
    """
    if not 0 < snr < 1 or corrections < 0:
        raise ConfigError(f"snr must lie between 0 and 1 and corrections be 0 or more, not {snr} and {corrections}.")
    evaluations = []
    for _, start, end in grid.steps():
        step = 2 * (snr * start.sigma) ** 2
        corrected = X - step / start.sigma * NOISE + (2 * step) ** 0.5 * FRESH
        evaluations.extend([Evaluation(start, (corrected,))] * corrections)
        std = posterior_variance(start, end) ** 0.5
        evaluations.append(Evaluation(start, (posterior_mean(start, end) + std * FRESH,)))
    return assemble(evaluations, grid)
