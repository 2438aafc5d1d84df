"""Augmentation that a network is told of, so that its samples do not show it (Karras et al., 2022, appendix F.2).

A training batch is flipped, scaled, turned, stretched and moved at random, and what was done to an image goes into the network as
nine numbers beside it. Sampling passes zeros: an image to which nothing was done.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from genjax.layers.affine import affine, stretch_matrix, turn_matrix

LABELS = 9


def augment_edm(
    key: Key[Array, ""],
    images: Float[Array, "batch height width channels"],
    probability: Float[Array, ""] | float,
    *,
    scale_std: float = 0.2,
    rotation: float = 1.0,
    aniso_std: float = 0.2,
    aniso_rotation: float = 0.5,
    translation_std: float = 0.125,
) -> tuple[Float[Array, "batch height width channels"], Float[Array, "batch 9"]]:
    """Images, each changed in some ways, and what was done to each. Beyond its edges an image goes on as its reflection.

    Args:
        images: in [-1, 1]; the filter may lead a little out of it. Those to which nothing is done come back bit for bit.
        probability: of each change, but for x flips: those are half of all images, as in the published runs. Published: 0.12 for
            CIFAR-10, 0.15 for FFHQ and AFHQv2. It and the settings below may be traced.
        scale_std: of the logarithm, to the base 2, of how many times larger an image becomes.
        rotation: the largest angle, as a share of a half turn.
        aniso_std: as scale_std, of one axis; the other becomes as many times smaller.
        aniso_rotation: how often that axis is turned, by any angle.
        translation_std: as a share of width and height.

    Returns:
        The images, and of each image (x flip, y flip, scale s, cos(angle) - 1, sin(angle), a cos(axis), a sin(axis), x shift,
        y shift): flips 0 or 1; s, a and shifts in standard deviations. A change that was not made has zeros.
    """
    batch, height, width, _ = images.shape
    keys = iter(jax.random.split(key, 14))
    chance = lambda share: jax.random.uniform(next(keys), (batch,)) < share  # noqa: E731
    angles = lambda: jax.random.uniform(next(keys), (batch,), minval=-math.pi, maxval=math.pi)  # noqa: E731
    normal = lambda: jax.random.normal(next(keys), (batch,))  # noqa: E731
    x_flip, y_flip = chance(0.5), chance(0.5) & chance(probability)
    scale = jnp.where(chance(probability), normal(), 0.0)
    angle = jnp.where(chance(probability), rotation * angles(), 0.0)
    aniso = jnp.where(chance(probability), normal(), 0.0)
    axis = jnp.where(chance(aniso_rotation), angles(), 0.0)
    shift = jnp.where(chance(probability), jnp.stack([normal(), normal()]), 0.0)

    flipped = jnp.where(x_flip[:, None, None, None], images[:, :, ::-1], images)
    flipped = jnp.where(y_flip[:, None, None, None], flipped[:, ::-1], flipped)
    stretch = stretch_matrix(2.0 ** (-aniso_std * aniso), 2.0 ** (aniso_std * aniso))
    moved = (translation_std * shift * jnp.array([[width], [height]])).T[:, :, None]
    with jax.default_matmul_precision("highest"):
        linear = (
            turn_matrix(angle) @ turn_matrix(-axis) @ stretch @ turn_matrix(axis) * (2.0 ** (-scale_std * scale))[:, None, None]
        )
        seen = affine(flipped, jnp.concatenate([linear, -linear @ moved], axis=-1))
    changed = (scale != 0) | (angle != 0) | (aniso != 0) | (shift != 0).any(axis=0)
    labels = (x_flip, y_flip, scale, jnp.cos(angle) - 1, jnp.sin(angle), aniso * jnp.cos(axis), aniso * jnp.sin(axis), *shift)
    return jnp.where(changed[:, None, None, None], seen, flipped), jnp.stack(labels, axis=-1).astype(jnp.float32)
