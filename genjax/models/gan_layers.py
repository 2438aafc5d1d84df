"""What the convolutional GANs have in common: how they begin, the choice of a norm, and what they are asked without need."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int

from genjax.errors import ConfigError
from genjax.layers.batch_norm import BatchNorm
from genjax.layers.conv import Conv
from genjax.layers.embedding import Embedding
from genjax.layers.norm import GroupNorm, InstanceNorm
from genjax.layers.spectral_norm import SpectralConv, SpectralEmbedding

# Radford et al., 2016, section 4; pix2pix and CycleGAN begin alike. The scales of batch norms are drawn around 1.
NORMAL_INIT = nn.initializers.normal(0.02)


def around_one(key: Array, shape: tuple[int, ...], dtype: jnp.dtype = jnp.float32) -> Array:
    return 1 + NORMAL_INIT(key, shape, dtype)


def normalize(
    kind: str, x: Float[Array, "batch *places features"], train: bool, dtype: str, name: str
) -> Float[Array, "batch *places features"]:
    """A norm by its name in a config; within a compact method, whose submodule `name` it becomes.

    Args:
        kind: "batch"; "instance", without parameters; "layer", over all of an example, with a scale and a bias for each feature;
            "none" and "spectral" (which is done to kernels): x as it is.
    """
    if kind == "batch":
        return BatchNorm(scale_init=around_one, dtype=jnp.dtype(dtype), name=name)(x, train)
    if kind == "instance":
        return InstanceNorm(dtype=jnp.dtype(dtype), name=name)(x)
    if kind == "layer":
        return GroupNorm(1, dtype=jnp.dtype(dtype), name=name)(x)
    return x


def judging_conv(
    norm: str, x: Float[Array, "batch height width channels"], features: int, train: bool, *, dtype: str, **options
) -> Float[Array, "batch new_height new_width features"]:
    """A discriminator's convolution, whose kernel is divided by its spectral norm where `norm` is "spectral"."""
    options = {"kernel_init": NORMAL_INIT, "dtype": jnp.dtype(dtype)} | options
    if norm == "spectral":
        return SpectralConv(features, **options)(x, train)
    return Conv(features, **options)(x)


def judging_rows(
    norm: str, classes: Int[Array, "batch"], count: int, features: int, train: bool, name: str
) -> Float[Array, "batch features"]:
    """A discriminator's vectors of classes, `count` of them, whose table is divided by its spectral norm where `norm` says so."""
    if norm == "spectral":
        return SpectralEmbedding(count, features, None, NORMAL_INIT, name=name)(classes, train)
    return Embedding(count, features, None, NORMAL_INIT, name=name)(classes)


def leaky(x: Float[Array, "*lead"]) -> Float[Array, "*lead"]:
    return jax.nn.leaky_relu(x, 0.2)


def check_classes(classes: Int[Array, "batch"] | None, num_classes: int) -> None:
    """Raises ConfigError: classes for a network that knows none, or none for one that does."""
    if num_classes and classes is None:
        raise ConfigError(f"the network was given no classes; it has model.num_classes {num_classes}.")
    if not num_classes and classes is not None:
        raise ConfigError(
            "the network was given classes; it knows none: leave them out, or use a network with model.num_classes."
        )


def check_images(
    images: Float[Array, "batch height width channels"], channels: int, factor: int = 1, size: int | None = None
) -> None:
    """Raises ConfigError: images of other than `channels` channels, whose sides are no multiples of `factor`, or not `size`."""
    given = (
        f"images are {images.shape[1]}x{images.shape[2]} with {images.shape[3]} channels; the network reads {channels} channels"
    )
    if size is not None and images.shape[1:] != (size, size, channels):
        raise ConfigError(f"{given} and {size}x{size} pixels.")
    if images.shape[3] != channels or any(side % factor for side in images.shape[1:3]):
        raise ConfigError(f"{given}{f' and sides that are multiples of {factor}' if factor > 1 else ''}.")
