"""The networks that a task of autoencoding may have."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from flax import linen as nn

from genjax.config import structure
from genjax.errors import ConfigError
from genjax.models import autoencoder, openai_dvae, two_level
from genjax.models.autoencoder import Autoencoder
from genjax.models.autoencoder_config import AutoencoderConfig
from genjax.models.openai_dvae import DVAE, DVAEConfig
from genjax.models.two_level import TwoLevelAutoencoder, TwoLevelConfig
from genjax.quantization.gumbel import GumbelConfig
from genjax.quantization.kinds import BottleneckConfig, read_bottleneck

COMPONENT = "autoencoder"
NetworkName = Literal["autoencoder", "two_level", "openai_dvae"]
NetworkConfig = AutoencoderConfig | TwoLevelConfig | DVAEConfig


@dataclass(frozen=True)
class Grid:
    """What an image becomes: so many rows and columns of codes, or of latents, of a bottleneck."""

    rows: int
    columns: int
    bottleneck: BottleneckConfig

    def __str__(self) -> str:
        b, size = self.bottleneck, f"{self.rows}x{self.columns}"
        if not b.codes:
            return f"{size} latents of {b.outputs}"
        return f"{size} codes of {b.codes:,}" + (f", {b.depth} deep" if b.depth > 1 else "")


@dataclass(frozen=True)
class Kind:
    """One kind of network.

    Attributes:
        flops: of a forward pass over an image of a height and a width.
    """

    module: Callable[[Any], nn.Module]
    flops: Callable[[Any, int, int], float]


KINDS: Mapping[type, Kind] = {
    AutoencoderConfig: Kind(Autoencoder, autoencoder.forward_flops),
    TwoLevelConfig: Kind(TwoLevelAutoencoder, two_level.forward_flops),
    DVAEConfig: Kind(DVAE, openai_dvae.forward_flops),
}


def grids(config: NetworkConfig, height: int, width: int) -> list[Grid]:
    """Of an image of this height and width; of two levels, the coarser first."""
    if isinstance(config, TwoLevelConfig):
        factors = ((config.factor, config.top), (config.bottom.factor, config.bottom))
        return [Grid(height // factor, width // factor, level.bottleneck) for factor, level in factors]
    return [Grid(height // config.factor, width // config.factor, config.bottleneck)]


def make_config(name: NetworkName, section: Mapping[str, Any], channels: int, outputs: int) -> NetworkConfig:
    """A network's config from `config.task.model`.

    Args:
        section: fields of the config; `bottleneck` names its kind and has its fields.
        channels: of an image.
        outputs: numbers that the decoder gives for each of an image.

    Raises:
        ConfigError: unknown fields, or channels, which follow from the data.
    """
    where = "config.task.model"
    if name == "two_level":
        levels = dict(section)
        bottom = _autoencoder(levels.pop("bottom", {}), f"{where}.bottom", channels, outputs)
        top = _autoencoder(levels.pop("top", {}), f"{where}.top", bottom.latent_channels, 1)
        if levels:
            raise ConfigError(f"{where} has {', '.join(levels)}; a network of two levels has the sections bottom and top.")
        return TwoLevelConfig(bottom, top)
    if name == "openai_dvae":
        values = _without_channels(section, where)
        if outputs != 2:
            raise ConfigError(
                "config.task.network 'openai_dvae' gives two numbers a pixel; set config.task.pixels='logit_laplace'."
            )
        bottleneck = structure(GumbelConfig, values.pop("bottleneck", {"codes": 8192, "width": 128}), f"{where}.bottleneck")
        return structure(DVAEConfig, values | {"channels": channels, "bottleneck": bottleneck}, where)
    return _autoencoder(section, where, channels, outputs)


def _autoencoder(section: Mapping[str, Any], where: str, channels: int, outputs: int) -> AutoencoderConfig:
    values = _without_channels(section, where)
    bottleneck = read_bottleneck(values.pop("bottleneck", {}), f"{where}.bottleneck")
    fixed = {"channels": channels, "out_channels": channels * outputs if outputs > 1 else 0}
    return structure(AutoencoderConfig, values | fixed | {"bottleneck": bottleneck}, where)


def _without_channels(section: Mapping[str, Any], where: str) -> dict[str, Any]:
    if wrong := [name for name in ("channels", "out_channels") if name in section]:
        raise ConfigError(f"{where}.{wrong[0]} follows from the data and config.task.pixels; leave it out.")
    return dict(section)
