"""The discriminator of StyleGAN2 (Karras et al., 2020): an image to how real it looks.

It computes what StyleGAN2-ADA's public code in torch does.
"""

import math

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from genjax.errors import ConfigError
from genjax.layers.equalized import EqualizedConv, EqualizedProjection, minibatch_stddev, scaled_leaky_relu
from genjax.layers.resample import downsample2d, setup_filter
from genjax.models.style_config import StyleGAN2Config
from genjax.models.style_generator import Classes, MappingNetwork


class StyleDiscriminator(nn.Module):
    """Images to logits of being real; classes enter as a projection (Miyato and Koyama, 2018)."""

    config: StyleGAN2Config

    @nn.compact
    def __call__(
        self,
        images: Float[Array, "batch height width channels"],
        classes: Classes | None = None,
        train: bool = False,
        *,
        features: bool = False,
    ) -> Float[Array, "batch"] | tuple[Float[Array, "batch h w width"], ...]:
        """Logits in float32.

        Args:
            images: in [-1, 1].
            classes: numbers of classes, or a weight for each class; for a network that knows classes.
            train: changes nothing.
            features: whether to end with what each block sees, the finest first, in which images do not depend on each other.

        Raises:
            ConfigError: images of another size, a batch that does not divide into groups, or classes where there are none.
        """
        c = self.config
        if images.shape[1:] != (c.image_size, c.image_size, c.channels):
            raise ConfigError(f"images are {images.shape[1:]}; the network reads {(c.image_size, c.image_size, c.channels)}.")
        if classes is not None and not c.num_classes:
            raise ConfigError("classes were given to a network of model.num_classes 0.")
        x, image, seen = None, images, []
        for resolution in c.resolutions[:0:-1]:
            x, image = DiscriminatorBlock(c, resolution, name=f"b{resolution}")(x, image)
            seen.append(x.astype(jnp.float32))
        if features:
            return tuple(seen)
        scores = DiscriminatorEpilogue(c, name="b4")(x, image)
        if not c.num_classes:
            return scores[:, 0]
        width = scores.shape[-1]
        mapping = MappingNetwork(0, c.num_classes, width, c.discriminator_mapping_layers, c.mapping_lr_multiplier, name="mapping")
        return (scores * mapping(None, classes)).sum(-1) / math.sqrt(width)


class DiscriminatorBlock(nn.Module):
    """Two convolutions, the second of which halves the places."""

    config: StyleGAN2Config
    resolution: int

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "batch height width channels"] | None,
        image: Float[Array, "batch height width image_channels"] | None,
    ) -> tuple[Float[Array, "batch half_height half_width features"], Float[Array, "batch h w image_channels"] | None]:
        c, dtype = self.config, self.config.dtype_at(self.resolution)
        width, after = c.channels_at(self.resolution), c.channels_at(self.resolution // 2)
        x = None if x is None else x.astype(dtype)
        if x is None or c.discriminator == "skip":
            image = image.astype(dtype)
            y = scaled_leaky_relu(EqualizedConv(width, 1, dtype=dtype, name="fromrgb")(image), clamp=c.clamp)
            x = y if x is None else x + y
            image = downsample2d(image, setup_filter(c.taps)) if c.discriminator == "skip" else None
        gain = math.sqrt(0.5) if c.discriminator == "resnet" else 1.0
        y = scaled_leaky_relu(EqualizedConv(width, dtype=dtype, name="conv0")(x), clamp=c.clamp)
        y = EqualizedConv(after, down=2, taps=c.taps, dtype=dtype, name="conv1")(y)
        y = scaled_leaky_relu(y, math.sqrt(2) * gain, c.clamp and c.clamp * gain)
        if c.discriminator == "resnet":
            y += gain * EqualizedConv(after, 1, down=2, taps=c.taps, use_bias=False, dtype=dtype, name="skip")(x)
        return y, image


class DiscriminatorEpilogue(nn.Module):
    """What 4x4 places say, in float32, their deviation within the batch beside them."""

    config: StyleGAN2Config

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch 4 4 channels"], image: Float[Array, "batch 4 4 image_channels"] | None
    ) -> Float[Array, "batch outputs"]:
        c, width = self.config, self.config.channels_at(4)
        x = x.astype(jnp.float32)
        if c.discriminator == "skip":
            x += scaled_leaky_relu(EqualizedConv(width, 1, name="fromrgb")(image.astype(jnp.float32)))
        if c.mbstd_channels:
            x = minibatch_stddev(x, c.mbstd_group_size, c.mbstd_channels)
        x = scaled_leaky_relu(EqualizedConv(width, name="conv")(x), clamp=c.clamp)
        x = scaled_leaky_relu(EqualizedProjection(width, input_axes=3, name="fc")(x))
        return EqualizedProjection(width if c.num_classes else 1, name="out")(x)
