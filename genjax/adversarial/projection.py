"""Images projected to a generator's styles: those whose image lies nearest (Karras et al., 2020, appendix D).

Adam moves styles and images of noise together, from the mean style on; noise on the styles, which fades, explores around them.
Left alone, the images of noise would come to bear the picture, so that they are kept from any likeness with themselves. All
numbers, and what the paper leaves open, are those of the public code (projector.py of StyleGAN2-ADA). What is near is the
caller's: a function of styles and noise. Each image's row is projected as if it were alone.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, Float, Int, Key

Styles = Float[Array, "images layers width"]
Noise = Mapping[str, Float[Array, "images height width"]]
Distance = Callable[[Styles, Noise], Float[Array, "images"]]

ADAM = optax.scale_by_adam()  # 0.9, 0.999 and 1e-8, as there
SMALLEST = 8  # height and width of the coarsest images of noise that are looked at


@struct.dataclass
class Procedure:
    """How it is done, by default as published; every number may be traced.

    Attributes:
        steps: how many.
        rate: the learning rate at its highest.
        rampup: the share of the steps over which it rises from 0, evenly.
        rampdown: the share at the end over which it falls to 0, as half a cosine.
        exploration: the deviation of the noise on styles at the start, as a share of that of all styles.
        exploring: the share of the steps over which it fades, with the square of what is left of them.
        decorrelation: the weight of `correlation`.
        tied: whether all layers have one style (W), or each its own (W+).
    """

    steps: Any = 1000
    rate: Any = 0.1
    rampup: Any = 0.05
    rampdown: Any = 0.25
    exploration: Any = 0.05
    exploring: Any = 0.75
    decorrelation: Any = 1e5
    tied: Any = True


@struct.dataclass
class Projection:
    """How far it has come.

    Attributes:
        noise: images by name, square, their sides powers of two.
        adam: the optimizer's memory of both.
        step: how many are done.
    """

    styles: Styles
    noise: Noise
    adam: Any
    step: Int[Array, ""]


def start(styles: Styles, noise: Noise) -> Projection:
    """Before the first step."""
    return Projection(styles, noise, ADAM.init((styles, noise)), jnp.zeros((), jnp.int32))


def advance(
    distance: Distance,
    state: Projection,
    procedure: Procedure,
    deviation: Float[Array, ""],
    keys: Key[Array, "images"],
) -> Projection:
    """One step.

    Args:
        distance: of what styles and noise make from each row's image.
        deviation: of all styles from their mean; see `spread`.
        keys: of each row, for all steps.
    """

    p, moved = procedure, (state.styles, state.noise)
    drawn = jax.vmap(lambda key: jax.random.normal(jax.random.fold_in(key, state.step), state.styles.shape[1:]))(keys)
    around = deviation * exploration(p, state.step) * jnp.where(p.tied, drawn[:, :1], drawn)

    def loss(moved):
        styles, noise = moved
        return (distance(styles + around, noise) + p.decorrelation * correlation(noise)).sum()

    slopes, noise_slopes = jax.grad(loss)(moved)
    slopes = jnp.where(p.tied, slopes.sum(1, keepdims=True), slopes)
    moves, adam = ADAM.update((slopes, noise_slopes), state.adam)
    rate = learning_rate(p, state.step)
    styles, noise = jax.tree.map(lambda x, move: x - rate * move, moved, moves)
    return Projection(styles, standardized(noise), adam, state.step + 1)


def learning_rate(procedure: Procedure, step: Int[Array, ""] | int) -> Float[Array, ""]:
    """Of the step with that number, from 0."""
    p, done = procedure, jnp.asarray(step, jnp.float32) / procedure.steps
    fall = 0.5 - 0.5 * jnp.cos(jnp.pi * jnp.minimum(1.0, (1 - done) / p.rampdown))
    return p.rate * fall * jnp.minimum(1.0, done / p.rampup)


def exploration(procedure: Procedure, step: Int[Array, ""] | int) -> Float[Array, ""]:
    """The deviation of the noise on styles in the step with that number, as a share of that of all styles."""
    done = jnp.asarray(step, jnp.float32) / procedure.steps
    return procedure.exploration * jnp.square(jnp.maximum(0.0, 1 - done / procedure.exploring))


def correlation(noise: Noise) -> Float[Array, "images"]:
    """How like its neighbours a pixel of noise is: squared means of products with the image moved by one, around its edges.

    Of each image and of its means over 2x2, 4x4, ... pixels down to 8x8. They are not made larger for their smaller deviation,
    as the public code does not (the paper doubles them from one to the next).
    """
    total = jnp.zeros(())
    for image in jax.tree.leaves(noise):
        while True:
            for axis in (1, 2):
                total += jnp.square((image * jnp.roll(image, 1, axis)).mean((1, 2)))
            count, side, _ = image.shape
            if side <= SMALLEST:
                break
            image = image.reshape(count, side // 2, 2, side // 2, 2).mean((2, 4))
    return total


def standardized(noise: Noise) -> Noise:
    """Each image at mean 0 and variance 1."""
    centred = jax.tree.map(lambda x: x - x.mean((1, 2), keepdims=True), noise)
    return jax.tree.map(lambda x: x * jax.lax.rsqrt(jnp.square(x).mean((1, 2), keepdims=True)), centred)


def spread(styles: Float[Array, "samples width"]) -> tuple[Float[Array, "width"], Float[Array, ""]]:
    """The mean of styles, and the root of their mean squared distance from it (the paper's sigma_w)."""
    mean = styles.mean(0)
    return mean, jnp.sqrt(jnp.square(styles - mean).sum(1).mean())
