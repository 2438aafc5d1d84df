"""Penalties on slopes: of the critic at examples, and of the generator along its styles. Each gives one number an example."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

Critic = Callable[[Float[Array, "batch *shape"]], Float[Array, "batch"]]


def squared_slopes(critic: Critic, examples: Float[Array, "batch *shape"]) -> Float[Array, "batch"]:
    """Of each example, the squared norm of the gradient of its logit, in float32.

    The gradient is of the sum of all logits: where the critic looks at the batch as a whole (batch normalization, the deviation
    within a group), an example's gradient holds its part in the others' logits too, as in the public implementations.
    """
    gradients = jax.grad(lambda x: critic(x).astype(jnp.float32).sum())(examples)
    return jnp.square(gradients.astype(jnp.float32)).sum(tuple(range(1, examples.ndim)))


def r1(critic: Critic, real: Float[Array, "batch *shape"]) -> Float[Array, "batch"]:
    """Half the squared slope at real examples (Mescheder et al., 2018, equation 9, without gamma); at generated ones it is R2."""
    return 0.5 * squared_slopes(critic, real)


def gradient_penalty(
    critic: Critic,
    key: Key[Array, ""],
    real: Float[Array, "batch *shape"],
    fake: Float[Array, "batch *shape"],
    slope: float = 1.0,
) -> Float[Array, "batch"]:
    """(|gradient| - slope)² at random places between pairs of examples (Gulrajani et al., 2017, equation 3, without lambda)."""
    share = jax.random.uniform(key, (len(real), *[1] * (real.ndim - 1)), real.dtype)
    norms = jnp.sqrt(squared_slopes(critic, real + share * (fake - real)) + 1e-12)  # the root has no slope at 0
    return jnp.square(norms - slope)


def path_lengths(
    synthesize: Callable[[Float[Array, "batch *styles"]], Float[Array, "batch height width channels"]],
    styles: Float[Array, "batch *layers width"],
    key: Key[Array, ""],
) -> Float[Array, "batch"]:
    """How far an image moves as its styles do, in a random direction of images (Karras et al., 2020, section 3.2).

    |J_w^T y| with y normal, divided by the root of the number of pixels so that it does not depend on the size; with styles of
    several layers, the root of the mean over layers of the squared lengths, as in the public code.
    """
    shape = jax.eval_shape(synthesize, styles).shape
    direction = jax.random.normal(key, shape) / jnp.sqrt(float(shape[1] * shape[2]))
    slopes = jax.grad(lambda w: (synthesize(w).astype(jnp.float32) * direction).sum())(styles)
    squares = jnp.square(slopes.astype(jnp.float32)).sum(-1)
    return jnp.sqrt(squares.reshape(len(squares), -1).mean(1) + 1e-12)


def path_length_penalty(
    lengths: Float[Array, "batch"], mean: Float[Array, ""], decay: float = 0.01
) -> tuple[Float[Array, "batch"], Float[Array, ""]]:
    """(length - a)² of each example, where a is the moving mean of lengths (the same section, equation 4); and the new mean.

    As in the public code, a gradient also flows through the part that these lengths have in the mean.

    Args:
        mean: so far; 0 at the start.
        decay: how far the mean moves towards that of these lengths before they are compared with it.
    """
    mean = mean + decay * (lengths.mean() - mean)
    return jnp.square(lengths - mean), jax.lax.stop_gradient(mean)
