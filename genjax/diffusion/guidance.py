"""Guidance: what a network says of a condition, driven further.

Each works on raw outputs of a network, at one sample, so it takes any parameterization. The scale is traced: changing it compiles
nothing, and 1 is no guidance.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from genjax.diffusion.predictions import Prediction, over


def classifier_free(
    conditional: Float[Array, "batch *shape"],
    unconditional: Float[Array, "batch *shape"],
    scale: Float[Array, "*batch"] | float,
    rescale: Float[Array, "*batch"] | float = 0.0,
) -> Float[Array, "batch *shape"]:
    """unconditional + scale (conditional - unconditional) (Ho and Salimans, 2022, equation 6, with scale = 1 + w).

    Autoguidance (Karras et al., 2024, equation 3) is the same, with a weaker network of the same condition in the place of the
    unconditional one.

    Args:
        scale: a number, or one for each of the batch.
        rescale: how far the result's deviation is brought back to that of the conditional output, in [0, 1] (Lin et al., 2023,
            equations 15 and 16).
    """
    guided = unconditional + over(scale, unconditional) * (conditional - unconditional)
    axes = tuple(range(1, guided.ndim))
    deviation = jnp.std(guided, axis=axes, keepdims=True)
    ratio = jnp.std(conditional, axis=axes, keepdims=True) / jnp.where(deviation > 0, deviation, 1)
    return guided * (1 + over(rescale, guided) * (ratio - 1))


def within(scale: Float[Array, "*batch"], ratio: Float[Array, ""], lowest: float, highest: float) -> Float[Array, "*batch"]:
    """The scale where lowest < sigma / alpha <= highest, and 1 elsewhere (Kynkaanniemi et al., 2024, equation 5)."""
    return jnp.where((ratio > lowest) & (ratio <= highest), scale, 1.0)


def by_classifier(
    prediction: Prediction,
    x: Float[Array, "batch *shape"],
    log_probability: Callable[[Float[Array, "batch *shape"]], Float[Array, "batch"]],
    scale: Float[Array, ""] | float,
    alpha: Float[Array, ""],
    sigma: Float[Array, ""],
) -> Prediction:
    """Along the gradient of a classifier's log-probability of the wished class, at the noisy sample (Dhariwal and Nichol, 2021,
    algorithm 2): noise - scale sigma gradient, and the clean sample that goes with it."""
    gradient = jax.grad(lambda x: log_probability(x).sum())(x)
    step = scale * sigma * gradient
    return prediction._replace(noise=prediction.noise - step, clean=prediction.clean + step * sigma / alpha)
