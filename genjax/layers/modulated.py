"""The convolution of StyleGAN2, whose kernel each example scales for itself (Karras et al., 2020, section 2.2)."""

import math

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from genjax.layers.resample import conv_resample


def modulated_conv(
    x: Float[Array, "batch height width channels"],
    kernel: Float[Array, "size size channels features"],
    styles: Float[Array, "batch channels"],
    taps: Float[Array, "*taps"],
    up: int = 1,
    demodulate: bool = True,
) -> Float[Array, "batch new_height new_width features"]:
    """A convolution with kernel · style (equation 1), divided by its norm over all that a feature reads (equation 3).

    Neither scale depends on the place, so channels are scaled before, and features after, one convolution that all examples
    share: the same numbers as a kernel for each example, and no grouped convolution.

    Args:
        x: in the dtype of the computation.
        kernel: in float32, without the gain of an equalized learning rate where `demodulate` removes it.
        styles: in float32.
        taps: of the filter that comes with `up`.
        demodulate: whether features are divided by the norm.
    """
    if not demodulate:
        return conv_resample(x * _over_places(styles, x), kernel.astype(x.dtype), taps, up)
    if x.dtype == jnp.float16:
        # Neither scale changes the result, and both keep float16 from overflowing (Karras et al., 2020, StyleGAN2-ADA's code).
        largest = jnp.abs(kernel).max((0, 1, 2), keepdims=True)
        kernel = kernel / (largest * math.sqrt(math.prod(kernel.shape[:3])))
        styles = styles / jnp.abs(styles).max(1, keepdims=True)
    energy = jnp.square(styles) @ jnp.square(kernel).sum((0, 1))
    y = conv_resample(x * _over_places(styles, x), kernel.astype(x.dtype), taps, up)
    return y * _over_places(lax.rsqrt(energy + 1e-8), y)


def _over_places(scale, x):
    return scale.astype(x.dtype)[:, None, None]
