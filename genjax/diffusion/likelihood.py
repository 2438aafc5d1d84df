"""The likelihood that a denoiser gives to data, by its probability-flow ODE."""

import math

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Key

from genjax.diffusion.grids import Grid
from genjax.diffusion.programs import Denoiser


def log_likelihood(
    denoise: Denoiser,
    x: Float[Array, "batch *shape"],
    grid: Grid,
    keys: Key[Array, "batch"],
    *,
    exact: bool = False,
    prior_std: float | None = None,
) -> Float[Array, "batch"]:
    """log p(x) in nats, of a sample at the grid's end (Song et al., 2021, equation 39; Chen et al., 2018): along the ODE in
    sigma / alpha, whose slope is the predicted noise, from clean to noise by Heun's method; the log-density changes by the
    slope's divergence.

    The grid ends at a small level that is not 0: end="last" of `grids.ratio_grid`.

    Args:
        exact: the divergence by all of its terms, one derivative a dimension, in place of Hutchinson's estimate with one sign
            vector of each key.
        prior_std: of the Gaussian that x is taken to be at the first level; None: that level's sigma.
    """
    levels = [*grid.starts, grid.ends[-1]][::-1]
    ratios, times, alphas, sigmas = (
        jnp.asarray([getattr(level, name) for level in levels], jnp.float32) for name in ("ratio", "time", "alpha", "sigma")
    )
    signs = jax.vmap(lambda key: jax.random.rademacher(key, x.shape[1:], jnp.float32))(keys)
    size = math.prod(x.shape[1:])

    def slope(scaled, place):
        alpha, sigma = alphas[place], sigmas[place]
        field = lambda scaled: denoise(alpha * scaled, times[place], alpha, sigma).noise  # noqa: E731
        # Backwards: networks may have backward passes of their own, which forward differentiation knows nothing of.
        value, pull = jax.vjp(field, scaled)
        if not exact:
            return value, jnp.sum((signs * pull(signs)[0]).reshape(len(x), -1), axis=1)

        def term(total, unit):
            direction = jnp.broadcast_to(unit.reshape(x.shape[1:]), x.shape)
            return total + jnp.sum((pull(direction)[0] * direction).reshape(len(x), -1), axis=1), None

        return value, lax.scan(term, jnp.zeros(len(x)), jnp.eye(size, dtype=jnp.float32))[0]

    def step(place, state):
        scaled, change = state
        far = ratios[place + 1] - ratios[place]
        first, divergence = slope(scaled, place)
        second, after = slope(scaled + far * first, place + 1)
        return scaled + far * (first + second) / 2, change + far * (divergence + after) / 2

    start = x.astype(jnp.float32) / alphas[0]
    scaled, change = lax.fori_loop(0, len(levels) - 1, step, (start, jnp.zeros(len(x))))
    std = (levels[-1].sigma if prior_std is None else prior_std) / levels[-1].alpha
    squares = jnp.sum((scaled / std).reshape(len(x), -1) ** 2, axis=1)
    prior = -0.5 * squares - size * (math.log(std) + 0.5 * math.log(2 * math.pi))
    return prior + change - size * math.log(levels[0].alpha)


def bits_per_dimension(log_density: Float[Array, "batch"], dimensions: int, levels: int = 256) -> Float[Array, "batch"]:
    """Of data with `levels` even steps in [-1, 1], spread evenly over their steps (dequantized), from its log-density in nats."""
    return -log_density / (dimensions * math.log(2)) + math.log2(levels / 2)
