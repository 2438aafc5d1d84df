"""The convolutional autoencoder of VQGAN and latent diffusion, around any bottleneck (Esser et al., 2021, section 3.1)."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int

from genjax.errors import ConfigError
from genjax.layers.conv import Conv, enlarge
from genjax.models.autoencoder_config import AutoencoderConfig, decoder_layout, encoder_layout
from genjax.models.unet_blocks import INITIALIZERS, AttentionBlock, ResidualBlock, make_norm
from genjax.models.unet_config import Step
from genjax.quantization.kinds import make_bottleneck
from genjax.quantization.quantized import Quantized


class Encoder(nn.Module):
    """Images to features of 1 / `factor` of their height and width."""

    config: AutoencoderConfig

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width channels"], train: bool = False
    ) -> Float[Array, "batch rows columns features"]:
        c = self.config
        h = Conv(c.widths[0], dtype=jnp.dtype(c.dtype), kernel_init=INITIALIZERS[c.initialization].inner, name="conv_in")(x)
        h = _run(c, encoder_layout(c), h, train)
        return _leave(c, c.latent_channels * c.moments, h)


class Decoder(nn.Module):
    """Features to images."""

    config: AutoencoderConfig

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch rows columns features"], train: bool = False, hidden: bool = False
    ) -> Float[Array, "batch height width channels"]:
        """Images; with `hidden`, what the last convolution makes them of."""
        c, init = self.config, INITIALIZERS[self.config.initialization]
        h = Conv(c.widths[-1], dtype=jnp.dtype(c.dtype), kernel_init=init.inner, name="conv_in")(x)
        h = _run(c, decoder_layout(c), h, train)
        return _leave(c, c.out_channels or c.channels, h, hidden)


class Autoencoder(nn.Module):
    """Images in [-1, 1] to what a bottleneck leaves of them, and back.

    Keys that the bottleneck draws from while training are named "bottleneck", those of dropout "dropout".
    """

    config: AutoencoderConfig

    def setup(self):
        c, init = self.config, INITIALIZERS[self.config.initialization].inner
        self.encoder, self.decoder = Encoder(c), Decoder(c)
        if c.project_in:
            self.project_in = Conv(c.bottleneck.inputs, 1, kernel_init=init)
        self.bottleneck = make_bottleneck(c.bottleneck)
        if c.project_out:
            self.project_out = Conv(c.latent_channels, 1, kernel_init=init)

    def __call__(
        self, x: Float[Array, "batch height width channels"], train: bool = False, **settings: Any
    ) -> tuple[Float[Array, "batch height width out_channels"], Quantized]:
        """The reconstruction, and what the bottleneck made of the image. Arguments and errors as for `encode`."""
        quantized = self.encode(x, train, **settings)
        return self.decode(quantized.values, train), quantized

    def encode(self, x: Float[Array, "batch height width channels"], train: bool = False, **settings: Any) -> Quantized:
        """What the bottleneck makes of images.

        Args:
            train: see the bottleneck.
            settings: what it is told beside the features, such as a temperature.

        Raises:
            ConfigError: another number of channels, or sides that do not divide.
        """
        return self.bottleneck(self.features(x, train), train, **settings)

    def features(
        self, x: Float[Array, "batch height width channels"], train: bool = False
    ) -> Float[Array, "batch rows columns inputs"]:
        """What the bottleneck reads. Errors as for `encode`."""
        check_images(x, self.config.channels, self.config.factor)
        h = self.encoder(x, train)
        return self.project_in(h) if self.config.project_in else h

    def decode(
        self, values: Float[Array, "batch rows columns width"], train: bool = False, hidden: bool = False
    ) -> Float[Array, "batch height width out_channels"]:
        """Images of what the bottleneck gave; with `hidden`, what `last_convolution` makes them of."""
        return self.decoder(self.project_out(values) if self.config.project_out else values, train, hidden)

    def decode_codes(self, codes: Int[Array, "batch rows columns *depth"]) -> Float[Array, "batch height width out_channels"]:
        """Images of codes. Raises ConfigError: a bottleneck without any."""
        return self.decode(self.bottleneck.lookup(codes))


def last_convolution(
    parameters: Mapping[str, Any], hidden: Float[Array, "batch height width features"]
) -> Float[Array, "batch height width out_channels"]:
    """The last layer of a `Decoder`, of whose parameters "conv_out" is one, apart from what comes before it."""
    own = parameters["conv_out"]
    return Conv(own["bias"].shape[0], parent=None).apply({"params": own}, hidden)


def forward_flops(config: AutoencoderConfig, height: int, width: int) -> float:
    """Floating-point operations of encoding and decoding one image: two for every multiplication of convolutions and attention;
    the bottleneck, norms and activations are not counted."""
    c, at = config, lambda level: height * width // 4**level
    last = len(c.widths) - 1
    total = 9 * c.widths[0] * (c.channels + (c.out_channels or c.channels)) * at(0)
    total += 9 * c.widths[-1] * c.latent_channels * (c.moments + 1) * at(last)
    total += c.latent_channels * c.moments * c.bottleneck.inputs * c.project_in * at(last)
    total += c.latent_channels * c.bottleneck.outputs * c.project_out * at(last)
    for step in (*encoder_layout(c), *decoder_layout(c)):
        features, tokens = step.after, at(step.places)
        total += 9 * step.before * features * tokens
        if not step.resample:
            total += (9 * features**2 + step.before * features * step.projects) * tokens
        if step.attends:
            total += 4 * features**2 * tokens + 2 * features * tokens**2
    return 2.0 * total


def check_images(x: Float[Array, "batch height width channels"], channels: int, factor: int) -> None:
    """Raises ConfigError: images of another number of channels, or whose sides do not divide."""
    if x.ndim != 4 or x.shape[-1] != channels:
        raise ConfigError(f"images of shape {x.shape[1:]} were given; the autoencoder reads {channels} channels.")
    if x.shape[1] % factor or x.shape[2] % factor:
        raise ConfigError(f"an image of {x.shape[1]}x{x.shape[2]} pixels does not divide by {factor}, as the levels need.")


def _run(c: AutoencoderConfig, layout: tuple[Step, ...], h: Array, train: bool) -> Array:
    options: dict[str, Any] = {"kernel_init": INITIALIZERS[c.initialization].inner, "dtype": jnp.dtype(c.dtype)}
    for step in layout:
        if step.resample == "halve":
            h = Conv(step.after, stride=2, padding=(0, 1), name=step.name, **options)(h)
        elif step.resample:
            h = Conv(step.after, name=step.name, **options)(enlarge(h))
        else:
            h = ResidualBlock(c, step, name=step.name)(h, None, train)
        if step.attends:
            h = AttentionBlock(c, name=f"{step.name}_attention")(h)
    return h


def _leave(c: AutoencoderConfig, features: int, h: Array, hidden: bool = False) -> Array:
    h = nn.silu(make_norm(c, h.shape[-1], "norm_out", "float32")(h))
    return h if hidden else Conv(features, kernel_init=INITIALIZERS[c.initialization].inner, name="conv_out")(h)
