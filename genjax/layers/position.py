"""Where a token stands, and at which time: sinusoidal tables and rotary embeddings. (Learned positions are an `Embedding`.)"""

import math
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Real


@dataclass(frozen=True)
class RopeScaling:
    """Llama-3's stretching of rotary frequencies to a longer context.

    Attributes:
        factor: how much the low frequencies slow down.
        low_freq_factor: wavelengths longer than original_context_length / low_freq_factor are stretched by `factor`.
        high_freq_factor: wavelengths shorter than original_context_length / high_freq_factor stay; between the two the
            stretch is interpolated.
        original_context_length: context before stretching, in tokens.
    """

    factor: float = 8.0
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_context_length: int = 8192


def sinusoidal(positions: Int[Array, "*lead"], features: int) -> Float[Array, "*lead features"]:
    """Vaswani et al., 2017, section 3.5: sin(position / 10000^(2i/features)) at even features, cos at odd ones."""
    frequencies = 10000.0 ** (-jnp.arange(0, features, 2, dtype=jnp.float32) / features)
    angles = positions[..., None].astype(jnp.float32) * frequencies
    table = jnp.stack([jnp.sin(angles), jnp.cos(angles)], axis=-1)
    return table.reshape(*positions.shape, -1)[..., :features]


def time_frequencies(
    times: Real[Array, "batch"], width: int, shift: int = 0, sine_first: bool = False
) -> Float[Array, "batch width"]:
    """Cosines, then sines, of times at frequencies that fall from 1 to 1 / 10,000, as Ho et al., 2020, have it in their code.

    Args:
        shift: subtracted from the number of frequencies by which the exponent is divided; with 1 the last is 1 / 10,000.
        sine_first: sines, then cosines.
    """
    half = width // 2
    angles = times.astype(jnp.float32)[:, None] * jnp.exp(-jnp.log(10_000.0) * jnp.arange(half) / (half - shift))
    parts = (jnp.sin(angles), jnp.cos(angles))
    found = jnp.concatenate(parts if sine_first else parts[::-1], axis=-1)
    return jnp.pad(found, ((0, 0), (0, width % 2)))


def grid_positions(rows: int, columns: int, features: int, base: int) -> Float[np.ndarray, "rows*columns features"]:
    """Sines, then cosines, of the column, then those of the row, each in half of the features; row by row, in float32.

    Args:
        features: a multiple of 4.
        base: rows and columns of the grid whose points are a step of 1 apart. A grid of other sizes covers the same area.
    """
    frequencies = 10_000.0 ** (-np.arange(features // 4) / (features / 4))

    def along(count: int) -> np.ndarray:
        angles = np.arange(count)[:, None] * (base / count) * frequencies
        return np.concatenate([np.sin(angles), np.cos(angles)], axis=1)

    across = np.broadcast_to(along(columns), (rows, columns, features // 2))
    down = np.broadcast_to(along(rows)[:, None], (rows, columns, features // 2))
    return np.concatenate([across, down], axis=-1).reshape(rows * columns, features).astype(np.float32)


def rotary_frequencies(head_dim: int, theta: float, scaling: RopeScaling | None = None) -> Float[Array, "half"]:
    """Radians for each position step: theta^(-2i/head_dim), i < head_dim / 2 (Su et al., 2021, equation 15)."""
    # The roundings of transformers' float32, one after the other (torch divides a number by a tensor as number * (1 / tensor)):
    # positions multiply the last bit, and another one moves cosines by 6e-5 at position 1,024, by 8e-3 at position 131,072.
    one = np.float32(1)
    exponents = np.arange(0, head_dim, 2, dtype=np.float32) / np.float32(head_dim)
    frequencies = one / np.power(theta, exponents.astype(np.float64)).astype(np.float32)
    if scaling is None:
        return jnp.asarray(frequencies)
    wavelengths = np.float32(2 * math.pi) * (one / frequencies)
    turns = np.float32(scaling.original_context_length) * (one / wavelengths)
    low, high = scaling.low_freq_factor, scaling.high_freq_factor
    smooth = np.clip((turns - np.float32(low)) / np.float32(high - low), np.float32(0), one)
    return jnp.asarray((one - smooth) * frequencies / np.float32(scaling.factor) + smooth * frequencies)


def rotary_angles(
    positions: Int[Array, "batch length"], head_dim: int, theta: float, scaling: RopeScaling | None = None
) -> tuple[Float[Array, "batch length half"], Float[Array, "batch length half"]]:
    """Cosines and sines for `rotate`, in float32; the same for every layer."""
    angles = positions[..., None].astype(jnp.float32) * rotary_frequencies(head_dim, theta, scaling)
    return jnp.cos(angles), jnp.sin(angles)


def rotate(
    x: Float[Array, "batch length heads head_dim"],
    angles: tuple[Float[Array, "batch length half"], Float[Array, "batch length half"]],
) -> Float[Array, "batch length heads head_dim"]:
    """Rotary embedding in Llama's layout: feature i is paired with i + head_dim / 2 (halves, not interleaved pairs)."""
    cosine, sine = (a[:, :, None, :] for a in angles)
    first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    return jnp.concatenate([first * cosine - second * sine, second * cosine + first * sine], axis=-1).astype(x.dtype)
