"""The players that a GAN may have: what they are made of, and how they are built."""

from collections.abc import Mapping
from typing import Any

from genjax.adversarial.growth import Growth, GrowthConfig
from genjax.config import choose, plain, structure
from genjax.errors import ConfigError
from genjax.models import dcgan, point_networks, progressive, sngan, style_config
from genjax.models.dcgan import DCGANConfig, DCGANDiscriminator, DCGANGenerator
from genjax.models.point_networks import PointCritic, PointGANConfig, PointGenerator
from genjax.models.progressive import ProgressiveConfig, ProgressiveDiscriminator, ProgressiveGenerator
from genjax.models.sngan import SNGANConfig, SNGANCritic, SNGANGenerator
from genjax.models.sngan_sizes import SNGAN_SIZES
from genjax.models.style_config import StyleGAN2Config
from genjax.models.style_discriminator import StyleDiscriminator
from genjax.models.style_generator import StyleGenerator
from genjax.models.style_sizes import STYLE_SIZES
from genjax.tasks.gan_players import GrowingPlayers, Kind, Players, StylePlayers


def _square(config: Any) -> tuple[int, int, int]:
    return config.image_size, config.image_size, config.channels


def _size_and_channels(shape: tuple[int, ...]) -> dict[str, int]:
    return {"image_size": shape[0], "channels": shape[-1]}


KINDS: Mapping[str, Kind] = {
    "points": Kind(
        PointGANConfig,
        PointGenerator,
        PointCritic,
        point_networks.forward_flops,
        lambda c: (c.features,),
        lambda shape: {"features": shape[-1]},
        {},
    ),
    "dcgan": Kind(
        DCGANConfig,
        DCGANGenerator,
        DCGANDiscriminator,
        lambda c: (dcgan.generator_flops(c), dcgan.discriminator_flops(c)),
        _square,
        _size_and_channels,
        {},
    ),
    "sngan": Kind(
        SNGANConfig,
        SNGANGenerator,
        SNGANCritic,
        sngan.forward_flops,
        _square,
        lambda shape: {"channels": shape[-1]},
        SNGAN_SIZES,
    ),
    "stylegan2": Kind(
        StyleGAN2Config,
        StyleGenerator,
        StyleDiscriminator,
        lambda c: (style_config.generator_flops(c), style_config.discriminator_flops(c)),
        _square,
        _size_and_channels,
        STYLE_SIZES,
    ),
    "progressive": Kind(
        ProgressiveConfig,
        ProgressiveGenerator,
        ProgressiveDiscriminator,
        lambda c: (progressive.generator_flops(c), progressive.discriminator_flops(c)),
        _square,
        _size_and_channels,
        {},
    ),
}


def make_players(
    name: str,
    section: Mapping[str, Any],
    shape: tuple[int, ...],
    num_classes: int,
    *,
    mixing: float,
    growth: GrowthConfig,
    batch_size: int,
) -> Players:
    """The players that `config.task.model` describes.

    Args:
        section: fields of the kind's config; `size` takes the rest from a row of its sizes.
        shape: of the data's examples.
        num_classes: that both are told; 0: none.
        mixing: of styles; see `StylePlayers`.
        growth, batch_size: the schedule of `GrowingPlayers`, and the examples of a step.

    Raises:
        ConfigError: unknown names and fields, fields that follow from the data, or players for examples of another shape.
    """
    kind = KINDS[name]
    points = name == "points"
    if points != (len(shape) == 1):
        what = "points" if points else "images"
        other = "'mixture'" if points else "'images' or 'shapes'"
        raise ConfigError(f"config.task.network '{name}' is for {what}; set config.data.name to {other}.")
    values = dict(section)
    size = values.pop("size", "")
    base = plain(choose("config.task.model.size:", size, kind.sizes)) if size else {}
    if not points and shape[0] != shape[1]:
        raise ConfigError(f"config.task.network '{name}' makes square images; those of the data are {shape[0]}x{shape[1]}.")
    if num_classes and not hasattr(kind.config, "num_classes"):
        raise ConfigError(f"config.task.network '{name}' knows no classes; set config.task.conditional to False.")
    fixed = dict(kind.from_data(shape)) | ({"num_classes": num_classes} if hasattr(kind.config, "num_classes") else {})
    if given := sorted(set(fixed) & set(values)):
        raise ConfigError(f"config.task.model sets {', '.join(given)}, which follow from the data and the rest of config.task.")
    config = structure(kind.config, base | values | fixed, "config.task.model")
    if kind.shape(config) != tuple(shape):
        made, has = ("x".join(map(str, sides[:2])) for sides in (kind.shape(config), shape))
        raise ConfigError(
            f"config.task.model makes images of {made} pixels, but the data has {has}: change its widths, or data.image_size."
        )
    if name == "stylegan2":
        return StylePlayers(kind, config, mixing)
    if mixing:
        raise ConfigError(f"config.task.style_mixing is for network 'stylegan2'; '{name}' has no styles: leave it out.")
    if name == "progressive":
        return GrowingPlayers(kind, config, Growth(growth, config.last_stage, batch_size))
    if growth != GrowthConfig():
        raise ConfigError(f"config.task.growth is for network 'progressive'; '{name}' has one resolution: leave it out.")
    return Players(kind, config)
