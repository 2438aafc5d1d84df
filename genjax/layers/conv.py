"""Convolutions over any number of places, and what changes the number of places."""

import math

import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Float

from genjax.layers.linear import Initializer, contract
from genjax.parallel.rules import constrain

# As torch's convolutions begin: variance 1 / (3 fan-in).
TORCH_INIT = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


class Conv(nn.Module):
    """A convolution over the axes between batch and channels, padded by zeros so that stride 1 keeps the size (odd kernels).

    Attributes:
        features: channels of the result.
        size: of the kernel, along each axis.
        stride: places for each place of the result.
        padding: (before, after) along each axis; None: half the kernel on both sides.
        use_bias: whether a bias is added.
        kernel_init: initializer of the kernel, [*size channels features].
        dtype: the computation's dtype; parameters are float32.
    """

    features: int
    size: int = 3
    stride: int = 1
    padding: tuple[int, int] | None = None
    use_bias: bool = True
    kernel_init: Initializer = TORCH_INIT
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "batch *places channels"]) -> Float[Array, "batch *new_places features"]:
        return self.convolve(x, self.make_kernel(x))

    def make_kernel(self, x: Float[Array, "batch *places channels"]) -> Float[Array, "*size channels features"]:
        axes = x.ndim - 2
        init = nn.with_logical_partitioning(self.kernel_init, (*[None] * axes, "embed", "mlp"))
        return self.param("kernel", init, (*[self.size] * axes, x.shape[-1], self.features), jnp.float32)

    def convolve(
        self, x: Float[Array, "batch *places channels"], kernel: Float[Array, "*size channels features"]
    ) -> Float[Array, "batch *new_places features"]:
        axes = x.ndim - 2
        # Held to the batch on both sides: for convolutions in a row whose shardings XLA chose itself it computed wrong gradients
        # (jaxlib 0.10.2; one axis of places, a mesh divided three ways, one example a device).
        x, kernel = held_to_batch(x.astype(self.dtype)), kernel.astype(self.dtype)
        if self.size == 1 and self.stride == 1 and self.padding in (None, (0, 0)):
            y = contract(x, kernel.reshape(kernel.shape[-2:]))
        else:
            padding = [self.padding or (self.size // 2, self.size // 2)] * axes
            y = lax.conv_general_dilated(x, kernel, [self.stride] * axes, padding, dimension_numbers=layout(axes))
        return held_to_batch(add_bias(self, y))


def layout(axes: int) -> tuple[str, str, str]:
    """What XLA calls channels last, with kernels [*size channels features], over so many axes of places."""
    letters = "DHW"[3 - axes :]
    return f"N{letters}C", f"{letters}IO", f"N{letters}C"


def held_to_batch(x: Float[Array, "batch *places channels"]) -> Float[Array, "batch *places channels"]:
    """On a mesh, split by its examples and by nothing else."""
    return constrain(x, "activation_batch", *[None] * (x.ndim - 1))


def add_bias(module: nn.Module, y: Float[Array, "batch *places features"]) -> Float[Array, "batch *places features"]:
    """y and the parameter "bias" of a module with `features`, where it has `use_bias`."""
    if not module.use_bias:
        return y
    init = nn.with_logical_partitioning(nn.initializers.zeros, ("mlp",))
    return y + module.param("bias", init, (module.features,), jnp.float32).astype(y.dtype)


def enlarge(x: Float[Array, "batch *places channels"], factor: int = 2) -> Float[Array, "batch *new_places channels"]:
    """Each place `factor` times along each axis (nearest neighbour)."""
    places = x.shape[1:-1]
    pairs = [size for place in places for size in (place, 1)]
    target = [size for place in places for size in (place, factor)]
    x = jnp.broadcast_to(x.reshape(x.shape[0], *pairs, x.shape[-1]), (x.shape[0], *target, x.shape[-1]))
    return x.reshape(x.shape[0], *(place * factor for place in places), x.shape[-1])


def average_pool(x: Float[Array, "batch *places channels"], factor: int = 2) -> Float[Array, "batch *new_places channels"]:
    """The mean of `factor` places along each axis; what fills no group is left out."""
    places = [size // factor for size in x.shape[1:-1]]
    x = x[(slice(None), *(slice(place * factor) for place in places))]
    groups = [size for place in places for size in (place, factor)]
    x = x.reshape(x.shape[0], *groups, x.shape[-1])
    return x.sum(tuple(range(2, 2 + 2 * len(places), 2))) / math.prod([factor] * len(places))


def shuffle_pixels(x: Float[Array, "batch height width channels"], factor: int = 2) -> Float[Array, "batch h2 w2 features"]:
    """Each place becomes factor x factor places of so many times fewer channels (Shi et al., 2016, equation 4).

    The order is torch's PixelShuffle: channel (feature, row, column), the feature slowest.
    """
    batch, height, width, channels = x.shape
    x = x.reshape(batch, height, width, channels // factor**2, factor, factor)
    return x.transpose(0, 1, 4, 2, 5, 3).reshape(batch, height * factor, width * factor, -1)


def unshuffle_pixels(x: Float[Array, "batch height width features"], factor: int = 2) -> Float[Array, "batch h2 w2 channels"]:
    """What `shuffle_pixels` undoes."""
    batch, height, width, features = x.shape
    x = x.reshape(batch, height // factor, factor, width // factor, factor, features)
    return x.transpose(0, 1, 3, 5, 2, 4).reshape(batch, height // factor, width // factor, -1)
