"""VQ-VAE-2: codes of two sizes, the coarser ones first (Razavi et al., 2019, section 3.1)."""

from dataclasses import dataclass, field
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int

from genjax.errors import ConfigError
from genjax.layers.conv import Conv, enlarge
from genjax.models import autoencoder
from genjax.models.autoencoder import Autoencoder, Decoder, Encoder, check_images
from genjax.models.autoencoder_config import AutoencoderConfig
from genjax.models.unet_blocks import INITIALIZERS
from genjax.quantization.gaussian import GaussianConfig
from genjax.quantization.kinds import make_bottleneck
from genjax.quantization.quantized import Quantized


@dataclass(frozen=True)
class TwoLevelConfig:
    """The hyper-parameters.

    Attributes:
        bottom: from images to the finer codes, and back.
        top: from the features of its encoder to the coarser codes, and back: its channels are `bottom.latent_channels`.
    """

    bottom: AutoencoderConfig = field(default_factory=AutoencoderConfig)
    top: AutoencoderConfig = field(default_factory=lambda: AutoencoderConfig(channels=256, widths=(256, 256)))

    def __post_init__(self):
        for name in ("bottom", "top"):
            level = getattr(self, name)
            if isinstance(level.bottleneck, GaussianConfig) or level.bottleneck.depth > 1:
                raise ConfigError(f"model.{name}.bottleneck has no code for each place; choose another kind.")
            if not (level.project_in and level.project_out):
                raise ConfigError(f"model.{name} must project into and out of its bottleneck; leave project_in and project_out.")
        if self.top.channels != self.bottom.latent_channels or self.top.out_channels:
            raise ConfigError(
                f"model.top.channels is {self.top.channels}; the top level reads and gives features of the bottom encoder, of "
                f"which there are {self.bottom.latent_channels} (model.bottom.latent_channels): set it to that, and leave "
                "model.top.out_channels out."
            )

    @property
    def channels(self) -> int:
        return self.bottom.channels

    @property
    def out_channels(self) -> int:
        return self.bottom.out_channels

    @property
    def factor(self) -> int:
        """What the sides of an image must be multiples of."""
        return self.bottom.factor * self.top.factor


class TwoLevelAutoencoder(nn.Module):
    """Images in [-1, 1] to two grids of codes (coarser, finer), and back. Its methods are those of `Autoencoder`; losses of both
    levels are added up."""

    config: TwoLevelConfig

    def setup(self):
        c, init = self.config, INITIALIZERS[self.config.bottom.initialization].inner
        self.encoder, self.decoder, self.top = Encoder(c.bottom), Decoder(c.bottom), Autoencoder(c.top)
        self.bottleneck = make_bottleneck(c.bottom.bottleneck)
        self.project_in = Conv(c.bottom.bottleneck.inputs, 1, kernel_init=init)
        self.project_out = Conv(c.bottom.latent_channels, 1, kernel_init=init)
        self.upsample = Conv(c.top.bottleneck.outputs, kernel_init=init)

    def __call__(
        self, x: Float[Array, "batch height width channels"], train: bool = False, **settings: Any
    ) -> tuple[Float[Array, "batch height width out_channels"], Quantized]:
        quantized = self.encode(x, train, **settings)
        return self.decode(quantized.values, train), quantized

    def encode(self, x: Float[Array, "batch height width channels"], train: bool = False, **settings: Any) -> Quantized:
        """Raises ConfigError: another number of channels, or sides that do not divide."""
        check_images(x, self.config.channels, self.config.factor)
        h = self.encoder(x, train)
        seen, coarse = self.top(h, train, **settings)
        fine = self.bottleneck(self.project_in(jnp.concatenate([h, seen], axis=-1)), train, **settings)
        losses = {name: fine.losses.get(name, 0.0) + coarse.losses.get(name, 0.0) for name in fine.losses | coarse.losses}
        return Quantized(self._together(coarse.values, fine.values), (coarse.codes, fine.codes), losses)

    def decode(
        self, values: Float[Array, "batch rows columns width"], train: bool = False, hidden: bool = False
    ) -> Float[Array, "batch height width out_channels"]:
        return self.decoder(self.project_out(values), train, hidden)

    def decode_codes(
        self, codes: tuple[Int[Array, "batch coarse_rows coarse_columns"], Int[Array, "batch rows columns"]]
    ) -> Float[Array, "batch height width out_channels"]:
        coarse, fine = codes
        return self.decode(self._together(self.top.bottleneck.lookup(coarse), self.bottleneck.lookup(fine)))

    def _together(self, coarse: Array, fine: Array) -> Array:
        """What the decoder reads: both, the coarser enlarged."""
        return jnp.concatenate([self.upsample(enlarge(coarse, self.config.top.factor)), fine], axis=-1)


def forward_flops(config: TwoLevelConfig, height: int, width: int) -> float:
    """Floating-point operations of encoding and decoding one image, counted as `autoencoder.forward_flops` does."""
    bottom, top = config.bottom, config.top
    rows, columns = height // bottom.factor, width // bottom.factor
    total = autoencoder.forward_flops(bottom, height, width) + autoencoder.forward_flops(top, rows, columns)
    further = bottom.latent_channels * (bottom.bottleneck.inputs + top.bottleneck.outputs) + 9 * top.bottleneck.outputs**2
    return total + 2.0 * further * rows * columns
