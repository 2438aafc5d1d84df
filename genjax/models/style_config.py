"""The hyper-parameters of StyleGAN2 (Karras et al., 2020), of both its networks, and what follows from them."""

import math
from dataclasses import dataclass
from typing import Literal

import jax.numpy as jnp

from genjax.errors import ConfigError
from genjax.models.checks import check_sizes

Architecture = Literal["orig", "skip", "resnet"]


@dataclass(frozen=True)
class StyleGAN2Config:
    """The hyper-parameters of StyleGAN2, in the terms of its public code in torch. The defaults are configuration F at 1024x1024.

    Attributes:
        image_size: rows and columns, a power of 2, 8 or more.
        channels: of an image.
        latent: numbers of z.
        style_width: numbers of w.
        num_classes: 0 for networks that know none.
        mapping_layers: from z to w.
        discriminator_mapping_layers: from a class to the vector that the discriminator's output is projected on.
        mapping_lr_multiplier: how much slower than others these layers learn.
        channel_base: channels of a resolution, times that resolution.
        channel_max: the most that any resolution has.
        generator: "skip": images of all resolutions are added; "resnet": residual blocks; "orig": neither.
        discriminator: the same; "skip" reads images of all resolutions.
        mbstd_group_size, mbstd_channels: of the deviation within a batch; 0 channels for none.
        taps: of the filter that enlarges and reduces images; only their proportions count.
        conv_clamp: activations of convolutions are kept within ±this; 0 for no bound. float16 needs one.
        dtype: the computation's dtype of the highest resolutions; parameters, styles and the rest are float32.
        half_levels: how many resolutions those are, but never that of 4x4.
        average_decay: of the moving average of w.
    """

    image_size: int = 1024
    channels: int = 3
    latent: int = 512
    style_width: int = 512
    num_classes: int = 0
    mapping_layers: int = 8
    discriminator_mapping_layers: int = 8
    mapping_lr_multiplier: float = 0.01
    channel_base: int = 32768
    channel_max: int = 512
    generator: Architecture = "skip"
    discriminator: Architecture = "resnet"
    mbstd_group_size: int = 4
    mbstd_channels: int = 1
    taps: tuple[float, ...] = (1, 3, 3, 1)
    conv_clamp: float = 0.0
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    half_levels: int = 4
    average_decay: float = 0.995

    def __post_init__(self):
        check_sizes(
            self,
            (
                *("channels", "latent", "style_width", "mapping_layers", "discriminator_mapping_layers", "channel_base"),
                *("channel_max", "mbstd_group_size"),
            ),
            ("num_classes", "mbstd_channels", "conv_clamp", "half_levels"),
        )
        check_image_size(self.image_size)
        if self.channel_base < self.image_size:
            raise ConfigError(
                f"model.channel_base is {self.channel_base}, which leaves no channel at {self.image_size}x{self.image_size}; use "
                f"{self.image_size} or more."
            )
        if self.mbstd_channels and self.channels_at(4) % self.mbstd_channels:
            raise ConfigError(
                f"model.mbstd_channels {self.mbstd_channels} does not divide the {self.channels_at(4)} channels of 4x4."
            )
        if not self.taps or abs(sum(self.taps)) < 1e-12:
            raise ConfigError(f"model.taps is {self.taps}; it must have taps, and their sum must not be 0.")
        if not 0 <= self.average_decay < 1:
            raise ConfigError(f"model.average_decay is {self.average_decay}; it must be at least 0 and less than 1.")
        if not self.mapping_lr_multiplier > 0:
            raise ConfigError(f"model.mapping_lr_multiplier is {self.mapping_lr_multiplier}; it must be more than 0.")
        if self.dtype == "float16" and not self.conv_clamp:
            raise ConfigError(
                "model.dtype float16 needs a bound, or activations overflow; set model.conv_clamp (published: 256)."
            )

    @property
    def resolutions(self) -> tuple[int, ...]:
        """From 4 to the image's size."""
        return tuple(2**level for level in range(2, self.image_size.bit_length()))

    @property
    def num_styles(self) -> int:
        """How many w the synthesis reads: one for each convolution, and one for the last image."""
        return 2 * len(self.resolutions)

    @property
    def clamp(self) -> float | None:
        return self.conv_clamp or None

    def channels_at(self, resolution: int) -> int:
        return min(self.channel_base // resolution, self.channel_max)

    def dtype_at(self, resolution: int) -> jnp.dtype:
        lowest = max(2 * self.image_size // 2**self.half_levels, 8)
        return jnp.dtype(self.dtype if resolution >= lowest else "float32")


def check_image_size(size: int) -> None:
    if size < 8 or size & (size - 1):
        near = max(8, 2 ** round(math.log2(max(size, 1))))
        raise ConfigError(f"model.image_size is {size}; it must be a power of 2, and 8 or more: use {near}.")


def generator_flops(config: StyleGAN2Config) -> float:
    """Floating-point operations of the generator's forward pass for one image: two for every multiplication of convolutions and
    projections; filters, norms, demodulation and activations not counted."""
    c = config
    total = mapping_multiplications(c.latent, c.num_classes, c.style_width, c.mapping_layers)
    for resolution in c.resolutions:
        before, width, places = c.channels_at(resolution // 2), c.channels_at(resolution), resolution**2
        total += c.style_width * width + 9 * width**2 * places
        if resolution > 4:  # at the places before they are enlarged
            total += c.style_width * before + (9 + (c.generator == "resnet")) * before * width * places // 4
        if resolution == c.image_size or c.generator == "skip":
            total += c.style_width * width + width * c.channels * places
    return 2.0 * total


def discriminator_flops(config: StyleGAN2Config) -> float:
    """Those of the discriminator's forward pass for one image, counted as `generator_flops` does."""
    c, total = config, 0
    for resolution in c.resolutions:
        width, places = c.channels_at(resolution), resolution**2
        if resolution == c.image_size or c.discriminator == "skip":
            total += c.channels * width * places
        if resolution > 4:  # the second at the places that are left
            after = c.channels_at(resolution // 2)
            total += 9 * width**2 * places + (9 + (c.discriminator == "resnet")) * width * after * places // 4
    width = c.channels_at(4)
    total += 16 * (9 * (width + c.mbstd_channels) * width + width**2) + width * (width if c.num_classes else 1)
    if c.num_classes:
        total += mapping_multiplications(0, c.num_classes, width, c.discriminator_mapping_layers)
    return 2.0 * total


def mapping_multiplications(latent: int, num_classes: int, width: int, layers: int) -> int:
    given = latent + (width if num_classes else 0)
    return num_classes * width + given * width + (layers - 1) * width**2
