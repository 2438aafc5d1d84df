"""Finite scalar quantization: every feature is rounded to one of a few levels (Mentzer et al., 2023)."""

import math
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float, Int

from genjax.errors import ConfigError
from genjax.quantization.quantized import Quantized, straight_through

_MARGIN = 1e-3  # by which bounded features stay away from the last rounding edge


@dataclass(frozen=True)
class FiniteScalarConfig:
    """Levels of each feature; their product is the number of codes (section 4.1: of 5 levels or more each)."""

    levels: tuple[int, ...] = (8, 5, 5, 5)

    depth = 1  # codes of a place

    def __post_init__(self):
        if not self.levels or min(self.levels) < 2:
            raise ConfigError(f"bottleneck.levels is {self.levels}; it must have one number or more, each 2 or more.")

    @property
    def codes(self) -> int:
        return math.prod(self.levels)

    @property
    def inputs(self) -> int:
        return len(self.levels)

    @property
    def outputs(self) -> int:
        return len(self.levels)


class FiniteScalarQuantizer(nn.Module):
    """Rounded features between -1 and 1. No losses, no parameters."""

    config: FiniteScalarConfig

    def __call__(self, x: Float[Array, "batch *places features"], train: bool = False) -> Quantized:
        bound = self.bound(x.astype(jnp.float32))
        rounded = jnp.round(bound)
        return Quantized(straight_through(bound, rounded) / self._half, self._codes(rounded), {})

    def lookup(self, codes: Int[Array, "*places"]) -> Float[Array, "*places features"]:
        steps = (codes[..., None] // self._basis) % np.array(self.config.levels)
        return (steps - self._half) / self._half

    def bound(self, x: Float[Array, "*lead features"]) -> Float[Array, "*lead features"]:
        """Between the levels' ends, which lie half a step off 0 where there is an even number of them (appendix A.1)."""
        levels = np.array(self.config.levels)
        half = (levels - 1) * (1 - _MARGIN) / 2
        offset = np.where(levels % 2, 0.0, 0.5)
        return (jnp.tanh(x + np.tan(offset / half)) * half - offset).astype(jnp.float32)

    def _codes(self, rounded: Float[Array, "*places features"]) -> Int[Array, "*places"]:
        return ((rounded + self._half).astype(jnp.int32) * self._basis).sum(-1).astype(jnp.int32)

    @property
    def _half(self) -> np.ndarray:
        return (np.array(self.config.levels) // 2).astype(np.float32)

    @property
    def _basis(self) -> np.ndarray:
        return np.cumprod([1, *self.config.levels[:-1]]).astype(np.int32)
