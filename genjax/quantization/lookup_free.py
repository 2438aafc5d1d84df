"""Lookup-free quantization: a code is the signs of the features (Yu et al., 2024, section 3.1)."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float, Int

from genjax.config import check_least
from genjax.errors import ConfigError
from genjax.quantization.quantized import Quantized, straight_through


@dataclass(frozen=True)
class LookupFreeConfig:
    """Signs.

    Attributes:
        bits: features, and so 2 ** bits codes.
        sharpness: how far a feature lies from 0 where its sign is nearly certain to the entropies: the inverse of their
            temperature.
        diversity: weight of the entropy of all codes of a batch against that of each.
        group: bits whose joint entropy over a batch is computed exactly; that of several such groups is added up, as if they were
            independent.
    """

    bits: int = 10
    sharpness: float = 1.0
    diversity: float = 1.0
    group: int = 9

    depth = 1  # codes of a place

    def __post_init__(self):
        check_least(self, "bottleneck", ("bits", "group"))
        if self.bits > 24:
            raise ConfigError(f"bottleneck.bits is {self.bits}; it must be at most 24.")

    @property
    def codes(self) -> int:
        return 2**self.bits

    @property
    def inputs(self) -> int:
        return self.bits

    @property
    def outputs(self) -> int:
        return self.bits


class LookupFreeQuantizer(nn.Module):
    """Features to -1 and 1. Losses: "commitment", how far they lie from them; "entropy" in nats (equation 6): low where each code
    is certain and all of a batch are used alike. No parameters."""

    config: LookupFreeConfig

    def __call__(self, x: Float[Array, "batch *places bits"], train: bool = False) -> Quantized:
        c = self.config
        x = x.astype(jnp.float32)
        signs = jnp.where(x > 0, 1.0, -1.0)
        codes = ((x > 0) * (2 ** np.arange(c.bits))).sum(-1).astype(jnp.int32)
        losses = {"commitment": jnp.square(x - signs).mean(), "entropy": self._entropy(x.reshape(-1, c.bits))}
        return Quantized(straight_through(x, signs), codes, losses)

    def lookup(self, codes: Int[Array, "*places"]) -> Float[Array, "*places bits"]:
        return jnp.where((codes[..., None] >> np.arange(self.config.bits)) & 1, 1.0, -1.0)

    def _entropy(self, x: Float[Array, "rows bits"]) -> Float[Array, ""]:
        """Of each code less that of all: the likelihood of a code falls with its squared distance times the sharpness, and so
        each bit is one independent choice."""
        c = self.config
        logits = 4 * c.sharpness * x
        each = -(jax.nn.sigmoid(logits) * jax.nn.log_sigmoid(logits) + jax.nn.sigmoid(-logits) * jax.nn.log_sigmoid(-logits))
        together = 0.0
        for first in range(0, c.bits, c.group):
            shares = joint(jax.nn.sigmoid(logits[:, first : first + c.group])).mean(0)
            together -= (shares * jnp.log(jnp.maximum(shares, 1e-12))).sum()
        return each.sum(-1).mean() - c.diversity * together


def joint(ones: Float[Array, "rows bits"]) -> Float[Array, "rows codes"]:
    """How likely each code of independent bits is, from the likelihoods of ones; the first bit is the lowest."""
    result = jnp.ones((len(ones), 1))
    for bit in range(ones.shape[1]):
        likely = ones[:, bit, None]
        result = jnp.concatenate([result * (1 - likely), result * likely], axis=1)
    return result
