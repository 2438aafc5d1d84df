"""The ResNet generator of CycleGAN (Zhu et al., 2017, section 7.2, after Johnson et al., 2016)."""

from dataclasses import dataclass
from typing import Literal

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from genjax.layers.conv import Conv
from genjax.layers.conv_transpose import ConvTranspose
from genjax.models.checks import check_sizes
from genjax.models.gan_layers import NORMAL_INIT, check_classes, check_images, normalize


@dataclass(frozen=True)
class CycleGANConfig:
    """The defaults are the published generator for 256x256 pixels: 11,378,179 parameters.

    Attributes:
        in_channels, out_channels: of the given image and of the one that is made.
        width: channels behind the first layer.
        levels: halvings, each of which doubles the channels; sides of images must be multiples of 2 ** levels.
        blocks: residual blocks at the coarsest level; 6 in the paper for 128x128 pixels.
        norm: behind all layers but the last.
        dropout: share dropped within the blocks while training; none in CycleGAN.
        dtype: the computation's dtype; parameters, statistics and images are float32.
    """

    in_channels: int = 3
    out_channels: int = 3
    width: int = 64
    levels: int = 2
    blocks: int = 9
    norm: Literal["batch", "instance"] = "instance"
    dropout: float = 0.0
    dtype: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self):
        check_sizes(self, ("in_channels", "out_channels", "width", "levels"), ("blocks",))


class CycleGANGenerator(nn.Module):
    """Images to images, both in [-1, 1]."""

    config: CycleGANConfig

    @nn.compact
    def __call__(
        self, images: Float[Array, "batch height width channels"], classes: None = None, train: bool = False
    ) -> Float[Array, "batch height width out_channels"]:
        """Float32 images.

        Args:
            classes: there are none; they are here for the call that all generators share.
            train: whether batch norms normalize by the batch and move their statistics, and dropout drops.

        Raises:
            ConfigError: images of other channels or sides, or classes.
        """
        c = self.config
        check_images(images, c.in_channels, 2**c.levels)
        check_classes(classes, 0)
        # A batch norm brings its own bias.
        options = {"kernel_init": NORMAL_INIT, "dtype": jnp.dtype(c.dtype), "use_bias": c.norm != "batch"}

        def norm(x: Array, name: str) -> Array:
            return nn.relu(normalize(c.norm, x, train, c.dtype, name))

        x = Conv(c.width, 7, padding=(0, 0), name="stem", **options)(reflect(images, 3))
        x = norm(x, "stem_norm")
        for level in range(c.levels):
            x = Conv(c.width << (level + 1), 3, 2, (1, 1), name=f"down_{level}", **options)(x)
            x = norm(x, f"down_{level}_norm")
        for i in range(c.blocks):
            x = Block(c, name=f"block_{i}")(x, train)
        for level in reversed(range(c.levels)):
            x = ConvTranspose(c.width << level, 3, output_padding=1, name=f"up_{level}", **options)(x)
            x = norm(x, f"up_{level}_norm")
        x = Conv(c.out_channels, 7, padding=(0, 0), name="out", **options | {"use_bias": True})(reflect(x, 3))
        return jnp.tanh(x.astype(jnp.float32))


class Block(nn.Module):
    """Two convolutions with norms, added to what they read; no ReLU behind the sum."""

    config: CycleGANConfig

    @nn.compact
    def __call__(self, x: Float[Array, "batch h w features"], train: bool) -> Float[Array, "batch h w features"]:
        c, features = self.config, x.shape[-1]
        options = {"kernel_init": NORMAL_INIT, "dtype": jnp.dtype(c.dtype), "use_bias": c.norm != "batch"}
        y = Conv(features, padding=(0, 0), name="conv_1", **options)(reflect(x, 1))
        y = nn.relu(normalize(c.norm, y, train, c.dtype, "norm_1"))
        y = nn.Dropout(c.dropout)(y, deterministic=not train)
        y = Conv(features, padding=(0, 0), name="conv_2", **options)(reflect(y, 1))
        return x + normalize(c.norm, y, train, c.dtype, "norm_2")


def reflect(x: Float[Array, "batch h w features"], places: int) -> Float[Array, "batch h2 w2 features"]:
    """Padding by what lies inside, mirrored at the outermost places (torch's ReflectionPad2d)."""
    return jnp.pad(x, ((0, 0), (places, places), (places, places), (0, 0)), mode="reflect")


def forward_flops(config: CycleGANConfig, image_size: int) -> float:
    """Floating-point operations of making one square image: two for every multiplication of a place with a kernel."""
    c = config
    total = image_size**2 * 49 * c.width * (c.in_channels + c.out_channels)
    for level in range(c.levels):
        coarse = (image_size >> (level + 1)) ** 2
        total += 2 * coarse * 9 * (c.width << level) * (c.width << (level + 1))  # down and up
    side, width = image_size >> c.levels, c.width << c.levels
    return 2.0 * (total + 2 * c.blocks * side**2 * 9 * width**2)
