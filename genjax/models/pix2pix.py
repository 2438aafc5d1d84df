"""The U-Net generator of pix2pix (Isola et al., 2017, section 6.1.1): down to one place, up again, skip connections between."""

from dataclasses import dataclass
from typing import Literal

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from genjax.errors import ConfigError
from genjax.layers.conv import Conv
from genjax.layers.conv_transpose import ConvTranspose
from genjax.models.checks import check_sizes
from genjax.models.gan_layers import NORMAL_INIT, check_classes, check_images, leaky, normalize


@dataclass(frozen=True)
class Pix2PixConfig:
    """The defaults are the published network for 256x256 pixels.

    Attributes:
        in_channels, out_channels: of the given image and of the one that is made.
        levels: halvings; both sides of an image must be multiples of 2 ** levels.
        width: channels behind the first layer; doubled by each further one, up to 8 times.
        norm: behind all layers but the first, the innermost on the way down, and the last.
        dropout: share dropped on the way up behind levels 4 and deeper, but the innermost (the three layers after the innermost
            of eight levels).
        test_statistics: what normalizes a batch norm when not training. "batch": the batch, as published; results then depend
            on what else is in the batch, and a batch of one image normalizes itself. "moving": the moving statistics.
        test_dropout: whether the layers that drop do so when not training too: as published, the network's only noise. It then
            needs a key for the stream "dropout".
        dtype: the computation's dtype; parameters, statistics and images are float32.
    """

    in_channels: int = 3
    out_channels: int = 3
    levels: int = 8
    width: int = 64
    norm: Literal["batch", "instance"] = "batch"
    dropout: float = 0.5
    test_statistics: Literal["batch", "moving"] = "batch"
    test_dropout: bool = True
    dtype: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self):
        check_sizes(self, ("in_channels", "out_channels", "width"))
        if self.levels < 2:
            raise ConfigError(f"model.levels is {self.levels}; it must be 2 or more.")

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels that leave each level on the way down."""
        return tuple(self.width * min(2**i, 8) for i in range(self.levels))

    @property
    def drops(self) -> tuple[int, ...]:
        """Levels that drop on the way up."""
        return tuple(range(4, self.levels - 1)) if self.dropout else ()


class Pix2PixGenerator(nn.Module):
    """Images to images, both in [-1, 1]."""

    config: Pix2PixConfig

    @nn.compact
    def __call__(
        self, images: Float[Array, "batch height width channels"], classes: None = None, train: bool = False
    ) -> Float[Array, "batch height width out_channels"]:
        """Float32 images.

        Args:
            classes: there are none; they are here for the call that all generators share.
            train: normalize by the batch and drop; else as the config says. Statistics move wherever the batch normalizes and
                the caller makes "batch_stats" mutable.

        Raises:
            ConfigError: images of other channels or sides, classes, or no key for "dropout" where there is to be noise.
        """
        c, dtype = self.config, jnp.dtype(self.config.dtype)
        check_images(images, c.in_channels, 2**c.levels)
        check_classes(classes, 0)
        drops = c.drops if train or c.test_dropout else ()
        if drops and not (self.has_rng("dropout") or self.is_initializing()):
            raise ConfigError(
                "the network drops features, when not training too (model.test_dropout), and was given no key: pass "
                'rngs={"dropout": key}, or set model.test_dropout or model.dropout to 0.'
            )
        options = {"kernel_init": NORMAL_INIT, "dtype": dtype}
        # A batch norm brings its own bias.
        bias = c.norm != "batch"
        by_batch = train or c.test_statistics == "batch"
        x, ways = images, []
        for level, features in enumerate(c.widths):
            x = Conv(features, 4, 2, (1, 1), use_bias=bias, name=f"down_{level}", **options)(leaky(x) if level else x)
            if 0 < level < c.levels - 1:
                x = normalize(c.norm, x, by_batch, c.dtype, f"down_{level}_norm")
            ways.append(x)
        x = ways.pop()
        for level in reversed(range(1, c.levels)):
            x = ConvTranspose(c.widths[level - 1], use_bias=bias, name=f"up_{level}", **options)(nn.relu(x))
            x = normalize(c.norm, x, by_batch, c.dtype, f"up_{level}_norm")
            x = nn.Dropout(c.dropout)(x, deterministic=level not in drops)
            x = jnp.concatenate([ways.pop(), x], axis=-1)
        x = ConvTranspose(c.out_channels, name="up_0", **options)(nn.relu(x))
        return jnp.tanh(x.astype(jnp.float32))


def forward_flops(config: Pix2PixConfig, image_size: int) -> float:
    """Floating-point operations of making one square image: two for every multiplication of a place with a kernel."""
    c, total, side = config, 0, image_size
    before = c.in_channels
    for level, after in enumerate(c.widths):
        side //= 2
        out = c.widths[level - 1] if level else c.out_channels
        up = after * (1 if level == c.levels - 1 else 2)
        total += side**2 * 16 * (before * after + up * out)
        before = after
    return 2.0 * total
