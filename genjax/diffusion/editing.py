"""Samples that keep what is known: inpainting, resampling, and the way between two latents.

Image-to-image needs nothing of its own: noise the image to where `Grid.after(strength)` starts, and run a sampler from there.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from genjax.diffusion.grids import Grid
from genjax.diffusion.programs import Evaluation, Program, Projection, assemble
from genjax.diffusion.samplers.one_step import ddim_weights
from genjax.errors import ConfigError


def keep_known(known: Float[Array, "batch *shape"], mask: Float[Array, "batch *mask"]) -> Projection:
    """Replaces the known part by itself with noise of the level (Song et al., 2021, appendix I.2): for `programs.run(project=)`.
    At the end, where there is no noise, it is the known part itself.

    Args:
        mask: 1 where `known` is known, 0 where it is to be filled in; broadcasts over it.
    """

    def project(x, alpha, sigma, draw):
        return jnp.where(mask > 0, alpha * known + sigma * draw(), x)

    return project


def repaint(grid: Grid, eta: float = 1.0, jump_length: int = 10, jump_samples: int = 10) -> Program:
    """RePaint (Lugmayr et al., 2022, algorithm 1 and appendix B): every `jump_length` steps the sample goes back as many, until
    they were taken `jump_samples` times, so that what is filled in comes to agree with what is known. Run it with `keep_known`.

    Args:
        eta: as in DDIM.

    Raises:
        ConfigError: a length or number below 1.
    """
    if jump_length < 1 or jump_samples < 1:
        raise ConfigError(f"jump_length and jump_samples must be at least 1, not {jump_length} and {jump_samples}.")
    left = {len(grid) - 1 - place: jump_samples - 1 for place in range(0, len(grid) - jump_length, jump_length)}
    evaluations, number = [], 0
    while number < len(grid):
        start, end = grid.starts[number], grid.ends[number]
        evaluations.append(Evaluation(start, (ddim_weights(start, end, eta),), end=end))
        number += 1
        if left.get(number, 0):
            left[number] -= 1
            number -= jump_length
    return assemble(evaluations, grid)


def spherical(
    first: Float[Array, "batch *shape"], second: Float[Array, "batch *shape"], share: float
) -> Float[Array, "batch *shape"]:
    """Between two noises, along the arc, so that what lies between is as long as noise is (Shoemake, 1985); 0 is the first."""
    axes = tuple(range(1, first.ndim))
    unit = lambda x: x / jnp.sqrt(jnp.sum(x * x, axis=axes, keepdims=True))  # noqa: E731
    cosine = jnp.clip(jnp.sum(unit(first) * unit(second), axis=axes, keepdims=True), -1.0, 1.0)
    angle = jnp.arccos(cosine)
    near = jnp.sin(angle) < 1e-4
    divisor = jnp.where(near, 1.0, jnp.sin(angle))
    weights = [jnp.where(near, part, jnp.sin(part * angle) / divisor) for part in (1 - share, share)]
    return weights[0] * first + weights[1] * second
