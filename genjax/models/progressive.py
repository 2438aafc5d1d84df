"""The networks of progressive growing (Karras et al., 2018, appendix A, table 2): a generator and a discriminator whose
resolution doubles while they are trained.

Variables of all resolutions are there from the start; a stage only says which of them are used. Stage s works at 4 * 2^s rows and
columns. A convolution that enlarges or reduces is joined with repeating or averaging places, as the paper's code does.
"""

import math
from dataclasses import dataclass
from typing import Literal

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Real

from genjax.errors import ConfigError
from genjax.layers.conv import average_pool, enlarge
from genjax.layers.equalized import EqualizedConv, EqualizedProjection, minibatch_stddev, pixel_norm, scaled_leaky_relu
from genjax.models.checks import check_sizes
from genjax.models.style_config import check_image_size

Alpha = Real[Array, ""] | float

_HE = math.sqrt(2)  # gain of what stands before a leaky ReLU
_BOX = (1.0, 1.0)


@dataclass(frozen=True)
class ProgressiveConfig:
    """The hyper-parameters of progressive growing. The defaults are the paper's for 1024x1024: 23,079,115 parameters of the
    generator, 23,087,249 of the discriminator.

    Attributes:
        image_size: rows and columns at the last stage, a power of 2, 8 or more.
        channels: of an image.
        latent: numbers of z.
        channel_base: channels of a resolution, times half that resolution.
        channel_max: the most that any resolution has.
        mbstd_group_size: of the deviation within a batch.
        dtype: the computation's dtype; parameters, pixel norms, the images and the discriminator's 4x4 are float32.
    """

    image_size: int = 1024
    channels: int = 3
    latent: int = 512
    channel_base: int = 8192
    channel_max: int = 512
    mbstd_group_size: int = 4
    dtype: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self):
        check_sizes(self, ("channels", "latent", "channel_base", "channel_max", "mbstd_group_size"))
        check_image_size(self.image_size)
        if self.channel_base < self.image_size // 2:
            raise ConfigError(
                f"model.channel_base is {self.channel_base}, which leaves no channel at {self.image_size}x{self.image_size}; use "
                f"{self.image_size // 2} or more."
            )

    @property
    def last_stage(self) -> int:
        return self.image_size.bit_length() - 3

    def channels_at(self, stage: int) -> int:
        return min(self.channel_base // 2 ** (stage + 1), self.channel_max)

    def check_stage(self, stage: int | None) -> int:
        """The stage, or the last for None. Raises ConfigError: there is no such stage."""
        stage = self.last_stage if stage is None else stage
        if not 0 <= stage <= self.last_stage:
            raise ConfigError(
                f"stage is {stage}; images of {self.image_size}x{self.image_size} have the stages 0 to {self.last_stage}."
            )
        return stage


class ProgressiveGenerator(nn.Module):
    """z to an image."""

    config: ProgressiveConfig

    @nn.compact
    def __call__(
        self,
        z: Float[Array, "batch latent"],
        classes: None = None,
        train: bool = False,
        *,
        stage: int | None = None,
        alpha: Alpha = 1.0,
    ) -> Float[Array, "batch height width channels"]:
        """Images in float32, whose range [-1, 1] is learned and not enforced.

        Args:
            z: drawn from N(0, 1).
            classes: none: the network knows none.
            train: changes nothing.
            stage: static; None for the last.
            alpha: traced: how much the newest resolution counts, from 0 where it begins to fade in (figure 2) to 1.

        Raises:
            ConfigError: classes, another width of z, or no such stage.
        """
        c, dtype = self.config, jnp.dtype(self.config.dtype)
        _refuse_classes(classes)
        if z.ndim != 2 or z.shape[-1] != c.latent:
            raise ConfigError(f"z is {z.shape}; it must be (batch, {c.latent}), as model.latent says.")
        stage = c.last_stage if self.is_initializing() else c.check_stage(stage)

        def finish(x):
            return pixel_norm(scaled_leaky_relu(x, 1.0))

        def image(stage, x):
            return EqualizedConv(c.channels, 1, dtype=dtype, name=f"to_rgb_{stage}")(x).astype(jnp.float32)

        width = c.channels_at(0)
        x = EqualizedProjection(16 * width, gain=_HE / 4, use_bias=False, dtype=dtype, name="dense")(pixel_norm(z))
        # One bias for each channel, at all 16 places.
        bias = self.param("dense_bias", nn.with_logical_partitioning(nn.initializers.zeros, ("mlp",)), (width,), jnp.float32)
        x = finish(x.reshape(len(x), 4, 4, width) + bias.astype(dtype))
        x = finish(EqualizedConv(width, gain=_HE, dtype=dtype, name="conv_0")(x))
        images = [x]
        for level in range(1, stage + 1):
            width = c.channels_at(level)
            x = finish(EqualizedConv(width, up=2, taps=_BOX, gain=_HE, dtype=dtype, name=f"conv_{level}_up")(x))
            x = finish(EqualizedConv(width, gain=_HE, dtype=dtype, name=f"conv_{level}")(x))
            images.append(x)
        if self.is_initializing():
            images = [image(level, x) for level, x in enumerate(images)]
            return images[-1]
        newest = image(stage, x)
        return newest if stage == 0 else _fade(enlarge(image(stage - 1, images[-2])), newest, alpha)


class ProgressiveDiscriminator(nn.Module):
    """Images to scores of being real."""

    config: ProgressiveConfig

    @nn.compact
    def __call__(
        self,
        images: Float[Array, "batch height width channels"],
        classes: None = None,
        train: bool = False,
        *,
        stage: int | None = None,
        alpha: Alpha = 1.0,
    ) -> Float[Array, "batch"]:
        """Scores in float32.

        Args:
            images: in [-1, 1], of the stage's size.
            classes: none: the network knows none.
            train: changes nothing.
            stage, alpha: see `ProgressiveGenerator`.

        Raises:
            ConfigError: classes, no such stage, images of another size, or a batch that does not divide into groups.
        """
        c, dtype = self.config, jnp.dtype(self.config.dtype)
        _refuse_classes(classes)
        stage = c.check_stage(stage)
        size = 4 * 2**stage
        if images.shape[1:] != (size, size, c.channels):
            raise ConfigError(f"images are {images.shape[1:]}; stage {stage} reads {(size, size, c.channels)}.")
        if self.is_initializing() and stage != c.last_stage:
            stage = c.last_stage
            images = enlarge(images, c.image_size // size)

        def activate(conv, x):
            return scaled_leaky_relu(conv(x), 1.0)

        def read(stage, images):
            return activate(EqualizedConv(c.channels_at(stage), 1, gain=_HE, dtype=dtype, name=f"from_rgb_{stage}"), images)

        x = read(stage, images)
        for level in range(stage, 0, -1):
            width, after = c.channels_at(level), c.channels_at(level - 1)
            x = activate(EqualizedConv(width, gain=_HE, dtype=dtype, name=f"conv_{level}"), x)
            x = activate(EqualizedConv(after, down=2, taps=_BOX, gain=_HE, dtype=dtype, name=f"conv_{level}_down"), x)
            if level == stage or self.is_initializing():
                images = average_pool(images)
                x = _fade(read(level - 1, images), x, alpha)
        width = c.channels_at(0)
        x = minibatch_stddev(x.astype(jnp.float32), c.mbstd_group_size)
        x = activate(EqualizedConv(width, gain=_HE, name="conv_0"), x)
        # Half the resolution of stage 0 would have so many channels.
        x = activate(EqualizedProjection(c.channels_at(-1), input_axes=3, gain=_HE, name="dense"), x)
        return EqualizedProjection(1, name="out")(x)[:, 0]


def fade_images(images: Float[Array, "batch height width channels"], alpha: Alpha) -> Float[Array, "batch height width channels"]:
    """Real images as a fading stage sees them: between those of half the resolution, alpha 0, and themselves, alpha 1
    (appendix A.1: real images are interpolated as the network interpolates its own)."""
    return _fade(enlarge(average_pool(images)), images, alpha)


def generator_flops(config: ProgressiveConfig, stage: int | None = None) -> float:
    """Floating-point operations of the generator's forward pass for one image: two for every multiplication of convolutions and
    projections; norms, filters, activations and the older image of a stage that fades in not counted."""
    c, stage = config, config.check_stage(stage)
    width = c.channels_at(0)
    total = 16 * c.latent * width + 16 * 9 * width**2
    for level in range(1, stage + 1):
        before, width, places = c.channels_at(level - 1), c.channels_at(level), 16 * 4**level
        total += 9 * before * width * places // 4 + 9 * width**2 * places
    return 2.0 * (total + width * c.channels * 16 * 4**stage)


def discriminator_flops(config: ProgressiveConfig, stage: int | None = None) -> float:
    """Those of the discriminator's forward pass for one image, counted as `generator_flops` does."""
    c, stage = config, config.check_stage(stage)
    total = c.channels * c.channels_at(stage) * 16 * 4**stage
    for level in range(1, stage + 1):
        width, places = c.channels_at(level), 16 * 4**level
        total += 9 * width**2 * places + 9 * width * c.channels_at(level - 1) * places // 4
    width, hidden = c.channels_at(0), c.channels_at(-1)
    return 2.0 * (total + 16 * 9 * (width + 1) * width + 16 * width * hidden + hidden)


def _fade(older, newest, alpha):
    return older + jnp.asarray(alpha, newest.dtype) * (newest - older)


def _refuse_classes(classes) -> None:
    if classes is not None:
        raise ConfigError("classes were given to a network of progressive growing, which knows none.")
