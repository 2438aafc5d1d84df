"""Images seen through affine maps: turned, scaled, stretched and moved without aliasing, differentiably.

The resampling of Karras et al., 2020 ("Training generative adversarial networks with limited data", appendix B), which the
augmentations of EDM and of StyleGAN2-ADA share.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

# The low-pass filter of the symlet with six vanishing moments (Daubechies, 1992): orthonormal, so that bringing an image to
# twice its size and back changes nothing.
SYM6 = (
    *(0.015404109327027373, 0.0034907120842174702, -0.11799011114819057, -0.048311742585633, 0.4910559419267466),
    *(0.787641141030194, 0.3379294217276218, -0.07263752278646252, -0.021060292512300564, 0.04472490177066578),
    *(0.0017677118642428036, -0.007800708325034148),
)
BEFORE, AFTER = 5, 6  # taps on either side of the one that lies at a pixel


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


def turn_matrix(angle: Float[Array, "batch"]) -> Float[Array, "batch 2 2"]:
    """Matrices that turn by angles in radians."""
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    return jnp.stack([jnp.stack([cos, -sin], axis=-1), jnp.stack([sin, cos], axis=-1)], axis=-2)


def stretch_matrix(x: Float[Array, "batch"], y: Float[Array, "batch"]) -> Float[Array, "batch 2 2"]:
    """Matrices that stretch each axis."""
    return jnp.stack([x, y], axis=-1)[:, :, None] * jnp.eye(2)
