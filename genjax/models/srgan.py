"""SRGAN (Ledig et al., 2017): SRResNet, which enlarges images, and a discriminator in the manner of VGG, ESRGAN's too."""

from dataclasses import dataclass
from typing import Literal

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from genjax.errors import ConfigError
from genjax.layers.batch_norm import BatchNorm
from genjax.layers.conv import Conv, shuffle_pixels
from genjax.layers.linear import Projection, uniform_init
from genjax.models.checks import check_sizes
from genjax.models.gan_layers import check_classes, check_images, leaky


@dataclass(frozen=True)
class SRResNetConfig:
    """The defaults are the paper's (figure 4): 1,549,462 parameters.

    Attributes:
        channels: of the images.
        scale: how many times larger the images become along each side: a power of two.
        width: channels of all convolutions but the last of each part.
        blocks: residual blocks.
        dtype: the computation's dtype; parameters, statistics and images are float32.
    """

    channels: int = 3
    scale: int = 4
    width: int = 64
    blocks: int = 16
    dtype: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self):
        check_sizes(self, ("channels", "width"), ("blocks",))
        if self.scale < 2 or self.scale & (self.scale - 1):
            raise ConfigError(f"model.scale is {self.scale}; it must be a power of two, 2 or more.")

    @property
    def doublings(self) -> int:
        return self.scale.bit_length() - 1


class SRResNet(nn.Module):
    """Images to larger ones, both around [-1, 1]."""

    config: SRResNetConfig

    @nn.compact
    def __call__(
        self, images: Float[Array, "batch height width channels"], classes: None = None, train: bool = False
    ) -> Float[Array, "batch new_height new_width channels"]:
        """Float32 images, not clipped.

        Args:
            classes: there are none; they are here for the call that all generators share.
            train: normalize by the batch and move the statistics ("batch_stats").

        Raises:
            ConfigError: images of other channels, or classes.
        """
        c, dtype = self.config, jnp.dtype(self.config.dtype)
        check_images(images, c.channels)
        check_classes(classes, 0)
        first = x = PReLU(name="act_first")(Conv(c.width, 9, dtype=dtype, name="conv_first")(images))
        for i in range(c.blocks):
            y = Conv(c.width, dtype=dtype, name=f"block_{i}_conv_1")(x)
            y = PReLU(name=f"block_{i}_act")(BatchNorm(dtype=dtype, name=f"block_{i}_norm_1")(y, train))
            y = Conv(c.width, dtype=dtype, name=f"block_{i}_conv_2")(y)
            x = x + BatchNorm(dtype=dtype, name=f"block_{i}_norm_2")(y, train)
        x = BatchNorm(dtype=dtype, name="norm_body")(Conv(c.width, dtype=dtype, name="conv_body")(x), train)
        x = x + first
        for i in range(c.doublings):
            x = shuffle_pixels(Conv(4 * c.width, dtype=dtype, name=f"conv_up_{i}")(x))
            x = PReLU(name=f"act_up_{i}")(x)
        return Conv(c.channels, 9, dtype=dtype, name="conv_last")(x).astype(jnp.float32)


class PReLU(nn.Module):
    """x above 0, x times a parameter below, one for all features (He et al., 2015, equation 1; torch's PReLU)."""

    @nn.compact
    def __call__(self, x: Float[Array, "*lead"]) -> Float[Array, "*lead"]:
        init = nn.with_logical_partitioning(nn.initializers.constant(0.25), ("norm",))
        slope = self.param("slope", init, (1,), jnp.float32)
        return jnp.where(x >= 0, x, slope.astype(x.dtype) * x)


@dataclass(frozen=True)
class SRDiscriminatorConfig:
    """The defaults are SRGAN's (figure 4) for patches of 96x96. ESRGAN's, for 128x128: stages 5, stride_size 4, hidden 100.

    Attributes:
        image_size: height and width of a patch, a multiple of 2 ** stages.
        channels: of the images.
        width: channels of the first stage; doubled by each further one, up to 8 times.
        stages: of two convolutions, the second of which has stride 2.
        stride_size: height and width of those kernels.
        hidden: features between the two last layers.
        dtype: the computation's dtype; parameters, statistics and logits are float32.
    """

    image_size: int = 96
    channels: int = 3
    width: int = 64
    stages: int = 4
    stride_size: Literal[3, 4] = 3
    hidden: int = 1024
    dtype: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self):
        check_sizes(self, ("image_size", "channels", "width", "stages", "hidden"))
        if self.image_size % 2**self.stages:
            raise ConfigError(
                f"model.image_size is {self.image_size}; with {self.stages} stages it must be a multiple of {2**self.stages}."
            )
        if self.stride_size not in (3, 4):
            raise ConfigError(f"model.stride_size is {self.stride_size}; it must be 3 or 4.")

    @property
    def widths(self) -> tuple[int, ...]:
        return tuple(self.width * min(2**i, 8) for i in range(self.stages))


class SRDiscriminator(nn.Module):
    """Images in [-1, 1] to a logit each."""

    config: SRDiscriminatorConfig

    @nn.compact
    def __call__(
        self, images: Float[Array, "batch height width channels"], classes: None = None, train: bool = False
    ) -> Float[Array, "batch"]:
        """Float32 logits, before the sigmoid.

        Args:
            classes: there are none; they are here for the call that all discriminators share.
            train: normalize by the batch and move the statistics ("batch_stats").

        Raises:
            ConfigError: images of another size, or classes.
        """
        c, dtype = self.config, jnp.dtype(self.config.dtype)
        check_images(images, c.channels, size=c.image_size)
        check_classes(classes, 0)
        x = images
        for i, width in enumerate(c.widths):
            x = Conv(width, use_bias=not i, dtype=dtype, name=f"conv_{i}_0")(x)
            x = leaky(BatchNorm(dtype=dtype, name=f"norm_{i}_0")(x, train) if i else x)
            x = Conv(width, c.stride_size, 2, (1, 1), use_bias=False, dtype=dtype, name=f"conv_{i}_1")(x)
            x = leaky(BatchNorm(dtype=dtype, name=f"norm_{i}_1")(x, train))
        axes = (None, None, "embed", "mlp")
        init = uniform_init(1 / (3 * x[0].size))
        x = leaky(Projection((c.hidden,), axes, 3, kernel_init=init, dtype=dtype, name="hidden")(x))
        init = uniform_init(1 / (3 * c.hidden))
        return Projection((1,), ("mlp", None), kernel_init=init, out_dtype=jnp.float32, name="out")(x)[:, 0]


def generator_flops(config: SRResNetConfig, height: int, width: int) -> float:
    """Floating-point operations of enlarging one image: two for every multiplication of a convolution.

    Args:
        height, width: of the given image.
    """
    c, places = config, height * width
    total = places * (81 * c.channels * c.width + 9 * (2 * c.blocks + 1) * c.width**2)
    total += sum(places * 4**i * 36 * c.width**2 for i in range(c.doublings))
    return 2.0 * (total + places * c.scale**2 * 81 * c.width * c.channels)


def discriminator_flops(config: SRDiscriminatorConfig) -> float:
    """Floating-point operations of judging one image: two for every multiplication of a convolution and of a projection."""
    c, total, before, side = config, 0, config.channels, config.image_size
    for width in c.widths:
        total += side**2 * 9 * before * width
        side, before = side // 2, width
        total += side**2 * c.stride_size**2 * width**2
    return 2.0 * (total + side**2 * before * c.hidden + c.hidden)
