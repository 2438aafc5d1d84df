"""The bottlenecks by name."""

from collections.abc import Mapping
from typing import Any

from flax import linen as nn

from genjax.config import choose, structure
from genjax.quantization.finite_scalar import FiniteScalarConfig, FiniteScalarQuantizer
from genjax.quantization.gaussian import GaussianBottleneck, GaussianConfig
from genjax.quantization.gumbel import GumbelConfig, GumbelQuantizer
from genjax.quantization.lookup_free import LookupFreeConfig, LookupFreeQuantizer
from genjax.quantization.residual import ResidualConfig, ResidualQuantizer
from genjax.quantization.vector import VectorConfig, VectorQuantizer

BottleneckConfig = VectorConfig | ResidualConfig | GumbelConfig | FiniteScalarConfig | LookupFreeConfig | GaussianConfig

KINDS: Mapping[str, tuple[type, type[nn.Module]]] = {
    "vector": (VectorConfig, VectorQuantizer),
    "residual": (ResidualConfig, ResidualQuantizer),
    "gumbel": (GumbelConfig, GumbelQuantizer),
    "finite_scalar": (FiniteScalarConfig, FiniteScalarQuantizer),
    "lookup_free": (LookupFreeConfig, LookupFreeQuantizer),
    "gaussian": (GaussianConfig, GaussianBottleneck),
}


def read_bottleneck(section: Mapping[str, Any], where: str) -> BottleneckConfig:
    """The config that a section describes: `name` chooses the kind ("vector" by default), the rest are its fields.

    Raises:
        ConfigError: unknown name or field.
    """
    values = dict(section)
    name = choose(f"{where}.name:", values.pop("name", "vector"), {name: name for name in KINDS})
    return structure(KINDS[name][0], values, where)


def name_of(config: BottleneckConfig) -> str:
    return next(name for name, (kind, _) in KINDS.items() if isinstance(config, kind))


def make_bottleneck(config: BottleneckConfig, name: str | None = None) -> nn.Module:
    """The module: `(features, train) -> Quantized`, and `lookup(codes)`."""
    return KINDS[name_of(config)][1](config, name=name)
