"""The networks that a diffusion task may have: what they are made of, and how each is called."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import jax
from flax import linen as nn
from jaxtyping import Array, Float, Int, Real

from genjax.config import choose, plain, structure
from genjax.errors import ConfigError
from genjax.models import dit, unet
from genjax.models.dit import DiT, DiTConfig
from genjax.models.dit_sizes import DIT_SIZES
from genjax.models.unet import UNet
from genjax.models.unet_config import UNetConfig
from genjax.models.unet_sizes import UNET_SIZES

NetworkConfig = UNetConfig | DiTConfig


@dataclass(frozen=True)
class Kind:
    """One kind of network.

    Attributes:
        factor: what the sides of a sample must be multiples of.
        flops: of training on one sample of those places, as models/ counts them.
    """

    module: Callable[[Any], nn.Module]
    config: type
    sizes: Mapping[str, Any]
    factor: Callable[[Any], int]
    flops: Callable[[Any, tuple[int, ...]], float]


KINDS = {
    "unet": Kind(UNet, UNetConfig, UNET_SIZES, lambda c: c.factor, unet.flops_per_sample),
    "dit": Kind(DiT, DiTConfig, DIT_SIZES, lambda c: c.patch_size, lambda c, places: dit.flops_per_sample(c)),
}


def kind_of(config: NetworkConfig) -> str:
    """The name of a config's kind, which is also that of its component in a run."""
    return next(name for name, kind in KINDS.items() if isinstance(config, kind.config))


def make_config(
    name: str, section: Mapping[str, Any], places: tuple[int, ...], fixed: Mapping[str, Any], optional: Mapping[str, Any]
) -> NetworkConfig:
    """A network's config from `config.task.model`.

    Args:
        section: fields of the config; `size` takes the rest from a row of the kind's sizes.
        places: of a sample along each axis.
        fixed: fields that follow from the data and the task.
        optional: the same, of which a kind may lack some; where it does, they must be 0.

    Raises:
        ConfigError: a field that is fixed, sounds for a network over images, sides that do not divide.
    """
    kind = KINDS[name]
    known = {field.name for field in fields(kind.config)}
    values = dict(section)
    size = values.pop("size", "")
    base = plain(choose("config.task.model.size:", size, kind.sizes)) if size else {}
    if given := sorted((set(fixed) | set(optional)) & set(values)):
        raise ConfigError(f"config.task.model sets {', '.join(given)}, which follow from the data and the rest of config.task.")
    if lacking := sorted(key for key, value in optional.items() if value and key not in known):
        raise ConfigError(f"config.task.network '{name}' has no {', '.join(lacking)}, which config.task asks for; use 'unet'.")
    if name == "dit":
        if len(places) != 2:
            raise ConfigError("config.task.network 'dit' is for images; use 'unet' for sounds.")
        values.setdefault("sample_size", max(places))
    else:
        values["dimensions"] = len(places)
    optional = {key: value for key, value in optional.items() if key in known}
    config = structure(kind.config, base | dict(fixed) | optional | values, "config.task.model")
    if any(side % kind.factor(config) for side in places):
        raise ConfigError(
            f"the sides of a sample must be multiples of {kind.factor(config)} for this config.task.model (its levels, or its "
            f"patches); they are {'x'.join(map(str, places))}."
        )
    return config


def call(
    config: NetworkConfig,
    variables: Mapping[str, Any],
    x: Float[Array, "batch *places in_channels"],
    times: Real[Array, "batch"],
    classes: Int[Array, "batch attributes"] | None,
    *,
    last: Float[Array, "batch *places channels"] | None = None,
    condition: Float[Array, "batch features"] | None = None,
    dropout_key: jax.Array | None = None,
) -> Float[Array, "batch *places out_channels"]:
    """The network's output.

    Args:
        last, condition: see `UNet`.
        dropout_key: for training; None: nothing is dropped.
    """
    module = KINDS[kind_of(config)].module(config)
    train = dropout_key is not None and config.dropout > 0
    rngs = {"dropout": dropout_key} if train else None
    if isinstance(config, DiTConfig):
        return module.apply(variables, x, times, classes, train, rngs=rngs)
    return module.apply(variables, x, times, classes, last, train, condition=condition, rngs=rngs)
