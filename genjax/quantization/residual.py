"""Residual quantization: a vector as a sum of a codebook's, each the nearest to what those before leave (Lee et al., 2022)."""

from dataclasses import dataclass, field

import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Float, Int

from genjax.config import check_least
from genjax.errors import ConfigError
from genjax.quantization.quantized import Quantized, straight_through
from genjax.quantization.vector import VectorConfig, VectorQuantizer


@dataclass(frozen=True)
class ResidualConfig:
    """A stack of codebooks.

    Attributes:
        depth: codes of a place.
        shared: whether all of them are of one codebook (Lee et al., 2022, section 3.1.2).
        codebook: of each.
    """

    depth: int = 4
    shared: bool = True
    codebook: VectorConfig = field(default_factory=VectorConfig)

    def __post_init__(self):
        check_least(self, "bottleneck", ("depth",))
        if self.codebook.cosine:
            raise ConfigError("bottleneck.codebook.cosine: what is left of a vector has no length of 1; leave it False.")

    @property
    def codes(self) -> int:
        return self.codebook.codes

    @property
    def inputs(self) -> int:
        return self.codebook.width

    @property
    def outputs(self) -> int:
        return self.codebook.width


class ResidualQuantizer(nn.Module):
    """Sums of vectors. Losses as `VectorQuantizer`'s, of every partial sum (equation 7), added up."""

    config: ResidualConfig

    def setup(self):
        c = self.config
        self.codebooks = [VectorQuantizer(c.codebook) for _ in range(1 if c.shared else c.depth)]

    def __call__(self, x: Float[Array, "batch *places width"], train: bool = False) -> Quantized:
        rest, total, codes = x.astype(jnp.float32), 0.0, []
        losses: dict[str, Array] = {}
        for level in range(self.config.depth):
            quantizer = self._codebook(level)
            table = quantizer.table()  # as it is before it moves
            found = quantizer(rest, train)
            values = table[found.codes]
            rest, total = rest - lax.stop_gradient(values), total + values
            codes.append(found.codes)
            losses = {name: losses.get(name, 0.0) + value for name, value in found.losses.items()}
        return Quantized(straight_through(x.astype(jnp.float32), total), jnp.stack(codes, axis=-1), losses)

    def lookup(self, codes: Int[Array, "*places depth"]) -> Float[Array, "*places width"]:
        """The sums of the vectors of codes; fewer than `depth` of them give a coarser sum."""
        return sum(self._codebook(level).lookup(codes[..., level]) for level in range(codes.shape[-1]))

    def _codebook(self, level: int) -> VectorQuantizer:
        return self.codebooks[0 if self.config.shared else level]
