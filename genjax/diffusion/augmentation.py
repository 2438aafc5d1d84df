"""Augmentation that a network is told of, so that its samples do not show it (Karras et al., 2022, appendix F.2).

A training batch is flipped, scaled, turned, stretched and moved at random, and what was done to an image goes into the network as
nine numbers beside it. Sampling passes zeros: an image to which nothing was done.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

LABELS = 9
# The low-pass filter of the symlet with six vanishing moments (Daubechies, 1992): orthonormal, so that bringing an image to
# twice its size and back changes nothing.
SYM6 = (
    *(0.015404109327027373, 0.0034907120842174702, -0.11799011114819057, -0.048311742585633, 0.4910559419267466),
    *(0.787641141030194, 0.3379294217276218, -0.07263752278646252, -0.021060292512300564, 0.04472490177066578),
    *(0.0017677118642428036, -0.007800708325034148),
)
BEFORE, AFTER = 5, 6  # taps on either side of the one that lies at a pixel


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
    stretch = _diagonal(2.0 ** (-aniso_std * aniso), 2.0 ** (aniso_std * aniso))
    moved = (translation_std * shift * jnp.array([[width], [height]])).T[:, :, None]
    with jax.default_matmul_precision("highest"):
        linear = _turn(angle) @ _turn(-axis) @ stretch @ _turn(axis) * (2.0 ** (-scale_std * scale))[:, None, None]
        seen = affine(flipped, jnp.concatenate([linear, -linear @ moved], axis=-1))
    changed = (scale != 0) | (angle != 0) | (aniso != 0) | (shift != 0).any(axis=0)
    labels = (x_flip, y_flip, scale, jnp.cos(angle) - 1, jnp.sin(angle), aniso * jnp.cos(axis), aniso * jnp.sin(axis), *shift)
    return jnp.where(changed[:, None, None, None], seen, flipped), jnp.stack(labels, axis=-1).astype(jnp.float32)


def affine(
    images: Float[Array, "batch height width channels"], maps: Float[Array, "batch 2 3"]
) -> Float[Array, "batch height width channels"]:
    """Images seen through affine maps: brought to twice their size by a wavelet, sampled bilinearly, and brought back.

    Where the public code ends its reflected margin (one image's width, and less in batches of small changes) and goes on with
    zeros, the reflection here goes on.

    Args:
        maps: take a pixel's place in the result to its place in the image: (x, y, 1) to (x, y), in pixels from the centre, x to
            the right and y down.
    """
    _, height, width, _ = images.shape
    with jax.default_matmul_precision("highest"):
        doubled = jnp.einsum("bhwc,yh,xw->byxc", images.astype(jnp.float32), _upsampling(height), _upsampling(width))
        down, right = (jnp.arange(2 * size + BEFORE + AFTER - 1) / 2 - (size + BEFORE - 1) / 2 for size in (height, width))
        places = jnp.stack(jnp.broadcast_arrays(right[None, :], down[:, None], 1.0), axis=-1)
        sources = jnp.einsum("bij,yxj->byxi", maps.astype(jnp.float32), places)
        x, y = 2 * sources[..., 0] + (width - 1), 2 * sources[..., 1] + (height - 1)
        seen = _sample(doubled, x, y)
        return jnp.einsum("byxc,hy,wx->bhwc", seen, _downsampling(height), _downsampling(width)).astype(images.dtype)


def _sample(
    images: Float[Array, "batch height width channels"],
    x: Float[Array, "batch rows columns"],
    y: Float[Array, "batch rows columns"],
) -> Float[Array, "batch rows columns channels"]:
    """Bilinear samples of images that repeat without end."""
    batch, height, width, channels = images.shape
    flat = images.reshape(batch, height * width, channels)
    left, top = jnp.floor(x), jnp.floor(y)

    def at(row: Array, column: Array) -> Array:
        index = jnp.mod(row, height).astype(jnp.int32) * width + jnp.mod(column, width).astype(jnp.int32)
        return jnp.take_along_axis(flat, index.reshape(batch, -1, 1), axis=1).reshape(*index.shape, channels)

    across, along = (x - left)[..., None], (y - top)[..., None]
    above = at(top, left) * (1 - across) + at(top, left + 1) * across
    below = at(top + 1, left) * (1 - across) + at(top + 1, left + 1) * across
    return above * (1 - along) + below * along


@functools.cache
def _upsampling(size: int) -> Float[np.ndarray, "places size"]:
    """From pixels to the places 0, 1/2, 1, ... between them, over one period of their endless reflection."""
    period = max(1, 2 * (size - 1))
    matrix = np.zeros((2 * period, size))
    for place in range(2 * period):
        for pixel in range((place - AFTER + 1) // 2, (place + BEFORE) // 2 + 1):
            reflected = size - 1 - abs(size - 1 - pixel % period)
            matrix[place, reflected] += SYM6[place + BEFORE - 2 * pixel]
    return matrix.astype(np.float32)


@functools.cache
def _downsampling(size: int) -> Float[np.ndarray, "size places"]:
    """Back to pixels, from the places that begin `BEFORE` halves before the first."""
    matrix = np.zeros((size, 2 * size + BEFORE + AFTER - 1))
    for pixel in range(size):
        matrix[pixel, 2 * pixel : 2 * pixel + len(SYM6)] = SYM6
    return matrix.astype(np.float32)


def _turn(angle: Float[Array, "batch"]) -> Float[Array, "batch 2 2"]:
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    return jnp.stack([jnp.stack([cos, -sin], axis=-1), jnp.stack([sin, cos], axis=-1)], axis=-2)


def _diagonal(x: Float[Array, "batch"], y: Float[Array, "batch"]) -> Float[Array, "batch 2 2"]:
    return jnp.stack([x, y], axis=-1)[:, :, None] * jnp.eye(2)
