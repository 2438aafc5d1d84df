"""How near one image is to another, pixel by pixel and in structure."""

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from genjax.errors import DataError

WINDOW, DEVIATION = 11, 1.5  # of the Gaussian window of SSIM
_STABLE = (0.01, 0.03)


def psnr(x: Float[Array, "batch height width channels"], y: Float[Array, "batch height width channels"]) -> Float[Array, "batch"]:
    """Peak signal to noise ratio in dB of each image in [-1, 1]."""
    return 10 * jnp.log10(4 / jnp.maximum(jnp.square(x - y).mean((1, 2, 3)), 1e-10))


def edges(x: Float[Array, "batch height width channels"]) -> Float[Array, "batch"]:
    """The mean absolute difference of neighbours, side by side and one above the other: blurred images have less."""
    return jnp.abs(jnp.diff(x, axis=1)).mean((1, 2, 3)) + jnp.abs(jnp.diff(x, axis=2)).mean((1, 2, 3))


def ssim(x: Float[Array, "batch height width channels"], y: Float[Array, "batch height width channels"]) -> Float[Array, "batch"]:
    """Structural similarity of each image in [-1, 1], 1 for equal ones (Wang et al., 2004, equation 13).

    The mean over channels and over all places of its window of 11x11 pixels.

    Raises:
        DataError: images smaller than the window.
    """
    if min(x.shape[1:3]) < WINDOW:
        raise DataError(f"SSIM looks through windows of {WINDOW}x{WINDOW} pixels; images of {x.shape[1]}x{x.shape[2]} have none.")
    places = np.arange(WINDOW) - WINDOW // 2
    weights = np.exp(-(places**2) / (2 * DEVIATION**2))
    weights = jnp.asarray(weights / weights.sum(), jnp.float32)

    def mean(z: Array) -> Array:
        """Over the window, at places where it lies within the image."""
        flat = z.transpose(0, 3, 1, 2).reshape(-1, 1, *z.shape[1:3])
        for kernel in (weights[None, None, :, None], weights[None, None, None, :]):
            flat = lax.conv_general_dilated(flat, kernel, (1, 1), "VALID", precision=lax.Precision.HIGHEST)
        return flat.reshape(len(z), -1)

    first, second = mean(x), mean(y)
    spread_x, spread_y = mean(x * x) - first**2, mean(y * y) - second**2
    together = mean(x * y) - first * second
    c1, c2 = ((2 * k) ** 2 for k in _STABLE)
    likeness = (2 * first * second + c1) * (2 * together + c2)
    return (likeness / ((first**2 + second**2 + c1) * (spread_x + spread_y + c2))).mean(1)
