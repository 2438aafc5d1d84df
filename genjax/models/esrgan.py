"""RRDBNet, the generator of ESRGAN (Wang et al., 2018, section 3.1) and of Real-ESRGAN (Wang et al., 2021)."""

from dataclasses import dataclass
from typing import Literal

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from genjax.errors import ConfigError
from genjax.layers.conv import Conv, enlarge, unshuffle_pixels
from genjax.models.checks import check_sizes
from genjax.models.gan_layers import check_classes, check_images, leaky

# A tenth of He's deviation (section 3.1, "smaller initialization").
_SMALL_INIT = nn.initializers.variance_scaling(0.02, "fan_in", "normal")


@dataclass(frozen=True)
class ESRGANConfig:
    """The defaults are the published network's: 16,697,987 parameters.

    Attributes:
        channels: of the images.
        scale: how many times larger the images become along each side. For 2 and 1 squares of 2 and 4 pixels are first laid into
            channels (Real-ESRGAN, section 3.3).
        width: channels between blocks.
        growth: channels that each of a dense block's first four convolutions adds.
        blocks: residual-in-residual dense blocks.
        scan_layers: whether they are compiled once, their parameters stacked.
        remat: whether they are computed again in the backward pass.
        dtype: the computation's dtype; parameters and images are float32.
    """

    channels: int = 3
    scale: Literal[1, 2, 4] = 4
    width: int = 64
    growth: int = 32
    blocks: int = 23
    scan_layers: bool = True
    remat: bool = False
    dtype: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self):
        check_sizes(self, ("channels", "width", "growth", "blocks"))
        if self.scale not in (1, 2, 4):
            raise ConfigError(f"model.scale is {self.scale}; it must be 1, 2 or 4.")


class RRDBNet(nn.Module):
    """Images to larger ones, both around [-1, 1].

    The published weights are for colors in [0, 1]: both sides are shifted within.
    """

    config: ESRGANConfig

    @nn.compact
    def __call__(
        self, images: Float[Array, "batch height width channels"], classes: None = None, train: bool = False
    ) -> Float[Array, "batch new_height new_width channels"]:
        """Float32 images, not clipped.

        Args:
            classes: there are none; they are here for the call that all generators share.
            train: changes nothing.

        Raises:
            ConfigError: images of other channels or sides, or classes.
        """
        c, dtype = self.config, jnp.dtype(self.config.dtype)
        check_images(images, c.channels, 4 // c.scale)
        check_classes(classes, 0)
        x = unshuffle_pixels((images + 1) / 2, 4 // c.scale)
        first = x = Conv(c.width, dtype=dtype, name="conv_first")(x)
        block = nn.remat(RRDB, prevent_cse=not c.scan_layers) if c.remat else RRDB
        if c.scan_layers:
            run = nn.scan(
                lambda block, x, _: (block(x), None),
                variable_axes={"params": 0},
                split_rngs={"params": True},
                length=c.blocks,
                metadata_params={nn.PARTITION_NAME: "layers"},
            )
            x, _ = run(block(c, name="blocks"), x, None)
        else:
            for i in range(c.blocks):
                x = block(c, name=f"blocks_{i}")(x)
        x = first + Conv(c.width, dtype=dtype, name="conv_body")(x)
        for name in ("conv_up1", "conv_up2"):
            x = leaky(Conv(c.width, dtype=dtype, name=name)(enlarge(x)))
        x = leaky(Conv(c.width, dtype=dtype, name="conv_hr")(x))
        return 2 * Conv(c.channels, dtype=dtype, name="conv_last")(x).astype(jnp.float32) - 1


class RRDB(nn.Module):
    """Three dense blocks in a row, a fifth of what they say added (figure 4)."""

    config: ESRGANConfig

    @nn.compact
    def __call__(self, x: Float[Array, "batch h w width"]) -> Float[Array, "batch h w width"]:
        c, y = self.config, x
        for dense in (1, 2, 3):
            seen = [y]
            for i in range(1, 6):
                features = c.growth if i < 5 else c.width
                conv = Conv(features, kernel_init=_SMALL_INIT, dtype=jnp.dtype(c.dtype), name=f"dense_{dense}_conv_{i}")
                seen.append(conv(jnp.concatenate(seen, axis=-1)))
                if i < 5:
                    seen[-1] = leaky(seen[-1])
            y = y + 0.2 * seen[-1]
        return x + 0.2 * y


def forward_flops(config: ESRGANConfig, height: int, width: int) -> float:
    """Floating-point operations of enlarging one image: two for every multiplication of a convolution.

    Args:
        height, width: of the given image.
    """
    c = config
    places = height * width * c.scale**2 // 16
    dense = sum((c.width + i * c.growth) * (c.growth if i < 4 else c.width) for i in range(5))
    low = c.channels * (4 // c.scale) ** 2 * c.width + 3 * c.blocks * dense + c.width**2
    high = (4 + 16 + 16) * c.width**2 + 16 * c.width * c.channels
    return 2.0 * 9 * places * (low + high)
