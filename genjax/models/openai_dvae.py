"""The network of OpenAI's discrete VAE (Ramesh et al., 2021, appendix A.2, and the public code): blocks without norms, 1 / 8 of
height and width."""

from dataclasses import dataclass, field
from typing import Any, Literal

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int

from genjax.layers.conv import Conv, enlarge
from genjax.models.autoencoder import check_images
from genjax.models.checks import check_sizes
from genjax.quantization.gumbel import GumbelConfig, GumbelQuantizer
from genjax.quantization.quantized import Quantized

MARGIN = 0.1  # pixels are brought to [MARGIN, 1 - MARGIN], where the logit-Laplace distribution has a density


@dataclass(frozen=True)
class DVAEConfig:
    """The hyper-parameters. The defaults are those of the published one: 8,192 codes, 97.6M parameters.

    Attributes:
        bottleneck: the codebook; its width is that of the decoder's first features.
        channels: of an image; what is decoded has twice as many, a location and a log-scale for each (appendix A.3).
        hidden: features of the finest group.
        groups: of blocks; each next one has twice the features and half the height and width.
        blocks: of a group.
        dtype: the computation's dtype; parameters, the bottleneck and the last convolution are float32.
    """

    bottleneck: GumbelConfig = field(default_factory=lambda: GumbelConfig(8192, 128))
    channels: int = 3
    hidden: int = 256
    groups: int = 4
    blocks: int = 2
    dtype: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self):
        check_sizes(self, ("channels", "hidden", "groups", "blocks"))

    @property
    def factor(self) -> int:
        """What the sides of an image must be multiples of: so many times smaller are those of its codes."""
        return 2 ** (self.groups - 1)

    @property
    def out_channels(self) -> int:
        return 2 * self.channels

    @property
    def gain(self) -> float:
        """Of what a block adds."""
        return 1 / (self.groups * self.blocks) ** 2

    def widths(self) -> tuple[int, ...]:
        """Of the groups, from the finest."""
        return tuple(self.hidden * 2**group for group in range(self.groups))


class DVAEBlock(nn.Module):
    """Four convolutions, of which one has size 1: the encoder's last one, the decoder's first."""

    features: int
    sizes: tuple[int, ...]
    gain: float
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: Float[Array, "batch height width channels"]) -> Float[Array, "batch height width features"]:
        y = x
        for number, size in enumerate(self.sizes):
            width = self.features if number == len(self.sizes) - 1 else self.features // 4
            y = Conv(width, size, dtype=self.dtype, name=f"conv_{number}")(nn.relu(y))
        if x.shape[-1] != self.features:
            x = Conv(self.features, 1, dtype=self.dtype, name="shortcut")(x)
        return x + self.gain * y


class DVAEEncoder(nn.Module):
    """Pixels in [MARGIN, 1 - MARGIN] to logits of codes."""

    config: DVAEConfig

    @nn.compact
    def __call__(self, x: Float[Array, "batch height width channels"]) -> Float[Array, "batch rows columns codes"]:
        c, dtype = self.config, jnp.dtype(self.config.dtype)
        h = Conv(c.hidden, 7, dtype=dtype, name="conv_in")(x)
        for group, width in enumerate(c.widths()):
            for number in range(c.blocks):
                h = DVAEBlock(width, (3, 3, 3, 1), c.gain, dtype, name=f"group_{group}_{number}")(h)
            if group < c.groups - 1:
                h = nn.max_pool(h, (2, 2), (2, 2))
        return Conv(c.bottleneck.codes, 1, name="conv_out")(nn.relu(h))


class DVAEDecoder(nn.Module):
    """Vectors of codes to the parameters of pixels' distributions."""

    config: DVAEConfig

    @nn.compact
    def __call__(self, x: Float[Array, "batch rows columns width"]) -> Float[Array, "batch height width parameters"]:
        c, dtype = self.config, jnp.dtype(self.config.dtype)
        init = nn.with_logical_partitioning(nn.initializers.zeros, ("norm",))
        h = (x + self.param("bias", init, (c.bottleneck.width,), jnp.float32)).astype(dtype)
        for group, width in enumerate(reversed(c.widths())):
            for number in range(c.blocks):
                h = DVAEBlock(width, (1, 3, 3, 3), c.gain, dtype, name=f"group_{group}_{number}")(h)
            if group < c.groups - 1:
                h = enlarge(h)
        return Conv(c.out_channels, 1, name="conv_out")(nn.relu(h))


class DVAE(nn.Module):
    """Images in [-1, 1] to codes, and codes to the parameters of pixels' logit-Laplace distributions: locations, then log-scales.
    Its methods are those of `Autoencoder`."""

    config: DVAEConfig

    def setup(self):
        self.encoder, self.decoder = DVAEEncoder(self.config), DVAEDecoder(self.config)
        self.bottleneck = GumbelQuantizer(self.config.bottleneck)

    def __call__(
        self, x: Float[Array, "batch height width channels"], train: bool = False, **settings: Any
    ) -> tuple[Float[Array, "batch height width parameters"], Quantized]:
        quantized = self.encode(x, train, **settings)
        return self.decode(quantized.values, train), quantized

    def encode(self, x: Float[Array, "batch height width channels"], train: bool = False, **settings: Any) -> Quantized:
        """Raises ConfigError: another number of channels, or sides that do not divide."""
        return self.bottleneck(self.features(x, train), train, **settings)

    def features(
        self, x: Float[Array, "batch height width channels"], train: bool = False
    ) -> Float[Array, "batch rows columns codes"]:
        """Logits of codes. Errors as for `encode`."""
        check_images(x, self.config.channels, self.config.factor)
        return self.encoder(within_margin(x))

    def decode(
        self, values: Float[Array, "batch rows columns width"], train: bool = False
    ) -> Float[Array, "batch height width parameters"]:
        return self.decoder(values)

    def decode_codes(self, codes: Int[Array, "batch rows columns"]) -> Float[Array, "batch height width parameters"]:
        return self.decode(self.bottleneck.lookup(codes))


def within_margin(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """From [-1, 1] to [MARGIN, 1 - MARGIN]."""
    return (0.5 - MARGIN) * x + 0.5


def forward_flops(config: DVAEConfig, height: int, width: int) -> float:
    """Floating-point operations of encoding and decoding one image, counted as `autoencoder.forward_flops` does."""
    c, total = config, 0.0
    at = lambda group: height * width // 4**group  # noqa: E731
    total += 49 * c.channels * c.hidden * at(0) + c.hidden * c.out_channels * at(0)
    total += c.widths()[-1] * c.bottleneck.codes * at(c.groups - 1)
    for widths, first in ((c.widths(), c.hidden), (c.widths()[::-1], c.bottleneck.width)):
        before = first
        for group, features in enumerate(widths):
            places = at(group if widths == c.widths() else c.groups - 1 - group)
            for _ in range(c.blocks):
                inner = features // 4
                total += (before * features * (before != features)) * places
                if widths == c.widths():
                    total += (9 * before * inner + 18 * inner**2 + inner * features) * places
                else:
                    total += (before * inner + 18 * inner**2 + 9 * inner * features) * places
                before = features
    return 2.0 * total
