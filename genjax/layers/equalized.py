"""Layers with an equalized learning rate, and what stands between them in the networks of Karras et al.

Weights begin as N(0, 1) and are scaled while the network runs, by 1 / sqrt(fan-in), so that an optimizer that scales by the size
of gradients (Adam) changes all of them at one pace (Karras et al., 2018, section 4.1).
"""

import math

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Float

from genjax.errors import ConfigError
from genjax.layers.linear import contract
from genjax.layers.resample import Taps, conv_resample, setup_filter
from genjax.parallel.rules import constrain


class EqualizedConv(nn.Module):
    """A convolution of square kernels at an equalized learning rate, which may enlarge or reduce the image; no activation.

    Attributes:
        features: channels of the result.
        size: of the kernel, odd.
        up, down: how many times as many places, or as few; see `conv_resample`.
        taps: of the filter that comes with either.
        use_bias: whether a bias is added.
        gain: what the kernel is multiplied by beside 1 / sqrt(fan-in): sqrt(2) before a ReLU that has no gain of its own.
        dtype: the computation's dtype; parameters are float32.
    """

    features: int
    size: int = 3
    up: int = 1
    down: int = 1
    taps: Taps = (1, 3, 3, 1)
    use_bias: bool = True
    gain: float = 1.0
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "batch height width channels"]) -> Float[Array, "batch new_height new_width features"]:
        shape = (self.size, self.size, x.shape[-1], self.features)
        kernel = self.param("kernel", normal_kernel((None, None, "embed", "mlp")), shape, jnp.float32)
        kernel = kernel * (self.gain / math.sqrt(math.prod(shape[:3])))
        y = conv_resample(x.astype(self.dtype), kernel.astype(self.dtype), setup_filter(self.taps), self.up, self.down)
        if self.use_bias:
            init = nn.with_logical_partitioning(nn.initializers.zeros, ("mlp",))
            y = y + self.param("bias", init, (self.features,), jnp.float32).astype(y.dtype)
        return y


class EqualizedProjection(nn.Module):
    """`x · kernel + bias` at an equalized learning rate, contracting the last `input_axes` dimensions; no activation.

    Attributes:
        features: of the result.
        lr_multiplier: how much slower than others this layer learns: its parameters are that much larger and count that much less
            (0.01 in StyleGAN's mapping).
        bias_init: what the bias counts at first.
        input_axes: how many trailing axes of the input are contracted.
        gain: what the kernel is multiplied by beside lr_multiplier / sqrt(fan-in).
        use_bias: whether a bias is added.
        dtype: the computation's dtype; parameters are float32.
    """

    features: int
    lr_multiplier: float = 1.0
    bias_init: float = 0.0
    input_axes: int = 1
    gain: float = 1.0
    use_bias: bool = True
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "batch *inner"]) -> Float[Array, "batch *outer features"]:
        inner = x.shape[x.ndim - self.input_axes :]
        names = (*[None] * (self.input_axes - 1), "embed", "mlp")
        kernel = self.param("kernel", normal_kernel(names, self.lr_multiplier), (*inner, self.features), jnp.float32)
        kernel = kernel * (self.gain * self.lr_multiplier / math.sqrt(math.prod(inner)))
        # Held to the batch on both sides: behind a convolution, a product over three axes whose shardings XLA chose itself had
        # wrong gradients (jaxlib 0.10.2; a mesh divided three ways), as layers/conv.py says of convolutions in a row.
        hold = lambda value: constrain(value, "activation_batch", *[None] * (value.ndim - 1))  # noqa: E731
        y = contract(hold(x.astype(self.dtype)), kernel.astype(self.dtype), self.input_axes)
        if self.use_bias:
            init = nn.with_logical_partitioning(nn.initializers.constant(self.bias_init), ("mlp",))
            bias = self.param("bias", init, (self.features,), jnp.float32)
            y = y + (bias * self.lr_multiplier).astype(y.dtype)
        return hold(y)


def normal_kernel(names: tuple[str | None, ...], lr_multiplier: float = 1.0):
    """The initializer of a kernel: N(0, 1) / lr_multiplier, its axes bearing logical names."""
    return nn.with_logical_partitioning(nn.initializers.normal(1 / lr_multiplier), names)


def scaled_leaky_relu(
    x: Float[Array, "*shape"], gain: float = math.sqrt(2), clamp: float | None = None
) -> Float[Array, "*shape"]:
    """Leaky ReLU with a slope of 0.2, times `gain` (sqrt(2) keeps the variance), within ±`clamp`."""
    y = jax.nn.leaky_relu(x, 0.2) * gain
    return y if clamp is None else jnp.clip(y, -clamp, clamp)


def pixel_norm(x: Float[Array, "*lead features"], epsilon: float = 1e-8) -> Float[Array, "*lead features"]:
    """x / sqrt(mean(x²) + epsilon) over features (Karras et al., 2018, section 4.2), in float32; the result in x's dtype."""
    wide = x.astype(jnp.float32)
    return (wide * lax.rsqrt(jnp.square(wide).mean(-1, keepdims=True) + epsilon)).astype(x.dtype)


def minibatch_stddev(
    x: Float[Array, "batch height width features"], group_size: int = 4, channels: int = 1
) -> Float[Array, "batch height width features_and_channels"]:
    """How much examples of a group differ, as channels more (Karras et al., 2018, section 3; as StyleGAN2-ADA computes it).

    A batch of n groups: examples i, i + n, i + 2n, ... are a group, so that on a mesh it spans devices, and the result does not
    depend on how the batch is divided. A batch smaller than a group is one group.

    Args:
        group_size: examples of a group.
        channels: how many are added; each is the mean over a part of the features, in their order.

    Raises:
        ConfigError: a batch that does not divide into groups, or features that do not divide over channels.
    """
    batch, height, width, features = x.shape
    group = min(group_size, batch)
    if batch % group:
        raise ConfigError(
            f"a batch of {batch} does not divide into groups of {group}; use a multiple, or another mbstd_group_size."
        )
    if features % channels:
        raise ConfigError(f"{features} features do not divide over mbstd_channels {channels}.")
    y = x.astype(jnp.float32).reshape(group, batch // group, height, width, channels, features // channels)
    deviation = jnp.sqrt(jnp.square(y - y.mean(0)).mean(0) + 1e-8).mean((1, 2, 4))
    deviation = jnp.tile(deviation, (group, 1)).astype(x.dtype)[:, None, None]
    return jnp.concatenate([x, jnp.broadcast_to(deviation, (batch, height, width, channels))], axis=-1)
