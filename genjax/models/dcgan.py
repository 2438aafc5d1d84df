"""DCGAN (Radford, Metz and Chintala, 2016): a generator of transposed convolutions, a discriminator of strided ones.

Sizes, and what begins how, are those of torch's public example: 4x4 kernels, 4x4 places behind the first layer, as many doublings
as the image has. With classes, they enter as in Mirza and Osindero, 2014, or as a projection (Miyato and Koyama, 2018).
"""

from dataclasses import dataclass
from typing import Literal

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int

from genjax.errors import ConfigError
from genjax.layers.conv_transpose import ConvTranspose
from genjax.layers.embedding import Embedding
from genjax.models.checks import check_sizes
from genjax.models.gan_layers import (
    NORMAL_INIT,
    check_classes,
    check_images,
    judging_conv,
    judging_rows,
    leaky,
    normalize,
)


@dataclass(frozen=True)
class DCGANConfig:
    """The hyper-parameters of both networks. The defaults are torch's example for 64x64 pixels: 3,576,704 and 2,765,568
    parameters.

    Attributes:
        image_size: height and width in pixels, a power of two from 8 on.
        channels: of the images.
        latent: numbers that an image is made of, drawn from a normal distribution.
        width: channels before the generator's last layer; twice as many before that, and so on.
        discriminator_width: channels behind the discriminator's first layer; 0: `width`.
        norm: behind the generator's layers but the last.
        discriminator_norm: behind the discriminator's layers but the first and the last; "spectral": of all its kernels.
        num_classes: 0 for networks that know none.
        class_features: of the vector of a class that is laid beside the latent.
        class_input: how the discriminator sees the class: "map", a picture of it as one channel more; "projection", the inner
            product of its vector with the sum over the last layer's places.
        dtype: the computation's dtype; parameters, statistics, images and the discriminator's last layer are float32.
    """

    image_size: int = 64
    channels: int = 3
    latent: int = 100
    width: int = 64
    discriminator_width: int = 0
    norm: Literal["batch", "layer", "none"] = "batch"
    discriminator_norm: Literal["batch", "layer", "none", "spectral"] = "batch"
    num_classes: int = 0
    class_features: int = 50
    class_input: Literal["map", "projection"] = "projection"
    dtype: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self):
        check_sizes(self, ("channels", "latent", "width", "class_features"), ("discriminator_width", "num_classes"))
        if self.image_size < 8 or self.image_size & (self.image_size - 1):
            near = max(8, 1 << (max(1, self.image_size) - 1).bit_length())
            raise ConfigError(f"model.image_size is {self.image_size}; it must be a power of two, 8 or more; use {near}.")

    @property
    def doublings(self) -> int:
        """From 4x4 places to the image."""
        return self.image_size.bit_length() - 3

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels behind the generator's layers, but the last."""
        return tuple(self.width << i for i in reversed(range(self.doublings)))

    @property
    def discriminator_widths(self) -> tuple[int, ...]:
        """Channels behind the discriminator's layers, but the last."""
        return tuple((self.discriminator_width or self.width) << i for i in range(self.doublings))


class DCGANGenerator(nn.Module):
    """Latents to images in [-1, 1]."""

    config: DCGANConfig

    @nn.compact
    def __call__(
        self, z: Float[Array, "batch latent"], classes: Int[Array, "batch"] | None = None, train: bool = False
    ) -> Float[Array, "batch height width channels"]:
        """Float32 images.

        Args:
            train: normalize by the batch and move the statistics ("batch_stats"); else by the statistics.

        Raises:
            ConfigError: latents of another size, or classes where there are none, or the reverse.
        """
        c, dtype = self.config, jnp.dtype(self.config.dtype)
        if z.ndim != 2 or z.shape[1] != c.latent:
            raise ConfigError(f"latents have the shape {z.shape}; the network reads (batch, {c.latent}).")
        check_classes(classes, c.num_classes)
        if classes is not None:
            rows = Embedding(c.num_classes, c.class_features, None, nn.initializers.normal(1.0), name="classes")(classes)
            z = jnp.concatenate([z, rows], axis=1)
        options = {"use_bias": c.norm == "none", "kernel_init": NORMAL_INIT, "dtype": dtype}
        x = ConvTranspose(c.widths[0], stride=1, padding=0, name="conv_0", **options)(z[:, None, None])
        x = nn.relu(normalize(c.norm, x, train, c.dtype, "norm_0"))
        for i, features in enumerate(c.widths[1:], start=1):
            x = ConvTranspose(features, name=f"conv_{i}", **options)(x)
            x = nn.relu(normalize(c.norm, x, train, c.dtype, f"norm_{i}"))
        x = ConvTranspose(c.channels, name=f"conv_{c.doublings}", **options)(x)
        return jnp.tanh(x.astype(jnp.float32))


class DCGANDiscriminator(nn.Module):
    """Images in [-1, 1] to a logit each: how real they look."""

    config: DCGANConfig

    @nn.compact
    def __call__(
        self,
        images: Float[Array, "batch height width channels"],
        classes: Int[Array, "batch"] | None = None,
        train: bool = False,
    ) -> Float[Array, "batch"]:
        """Float32 logits, before the sigmoid.

        Args:
            train: normalize by the batch and move the statistics ("batch_stats"), or take a power iteration ("spectral").

        Raises:
            ConfigError: images of another size, or classes where there are none, or the reverse.
        """
        c, norm = self.config, self.config.discriminator_norm
        check_images(images, c.channels, size=c.image_size)
        check_classes(classes, c.num_classes)
        x = images
        if classes is not None and c.class_input == "map":
            row = Embedding(c.num_classes, c.image_size**2, None, NORMAL_INIT, name="classes")(classes)
            x = jnp.concatenate([x, row.reshape(*images.shape[:3], 1)], axis=-1)
        bias = {"use_bias": norm in ("none", "spectral")}
        for i, features in enumerate(c.discriminator_widths):
            options = {"size": 4, "stride": 2, "padding": (1, 1), "dtype": c.dtype, "name": f"conv_{i}"} | bias
            x = judging_conv(norm, x, features, train, **options)
            x = leaky(normalize(norm if i else "none", x, train, c.dtype, f"norm_{i}"))
        options = {"size": 4, "padding": (0, 0), "dtype": "float32", "name": f"conv_{c.doublings}"} | bias
        logits = judging_conv(norm, x, 1, train, **options)[:, 0, 0, 0]
        if classes is not None and c.class_input == "projection":
            rows = judging_rows(norm, classes, c.num_classes, x.shape[-1], train, "classes")
            logits = logits + (rows * x.astype(jnp.float32).sum((1, 2))).sum(-1)
        return logits


def generator_flops(config: DCGANConfig) -> float:
    """Floating-point operations of making one image: two for every multiplication of a place with a kernel."""
    c = config
    total, side = (c.latent + c.class_features * bool(c.num_classes)) * 16 * c.widths[0], 4
    for before, after in zip(c.widths, (*c.widths[1:], c.channels), strict=True):
        total += side**2 * 16 * before * after
        side *= 2
    return 2.0 * total


def discriminator_flops(config: DCGANConfig) -> float:
    """Floating-point operations of judging one image: two for every multiplication of a convolution and of a projection."""
    c, total, side = config, 0, config.image_size
    before = c.channels + (c.num_classes > 0 and c.class_input == "map")
    for after in c.discriminator_widths:
        side //= 2
        total += side**2 * 16 * before * after
        before = after
    return 2.0 * (total + 16 * before + before * (c.num_classes > 0 and c.class_input == "projection"))
