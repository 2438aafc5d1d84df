"""Vector quantization: each vector becomes the nearest of a codebook's (van den Oord et al., 2017)."""

from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Float, Int

from genjax.config import check_least
from genjax.errors import ConfigError
from genjax.quantization.quantized import CODEBOOK, RANDOM, Quantized, code_counts, straight_through


@dataclass(frozen=True)
class VectorConfig:
    """A codebook.

    Attributes:
        codes: vectors of it.
        width: of a vector; narrower ones than the features are factorized codes (Yu et al., 2022, section 3.2).
        learning: "ema": each vector is a moving mean of what it was nearest to (van den Oord et al., 2017, appendix A.1);
            "loss": a parameter, drawn to what it was nearest to by the loss "codebook" (equation 3).
        decay: of the moving means.
        epsilon: added to every count of a moving mean.
        restart: "ema": a vector whose moving count has fallen below this share of the mean count is replaced by a feature of the
            batch (Dhariwal et al., 2020, section 3.1); 0: none is. Where it is above 0, the first batch makes the codebook.
        cosine: whether features and vectors have length 1, and the nearest is that of the smallest angle (Yu et al., 2022).
    """

    codes: int = 512
    width: int = 64
    learning: Literal["ema", "loss"] = "ema"
    decay: float = 0.99
    epsilon: float = 1e-5
    restart: float = 0.0
    cosine: bool = False

    depth = 1  # codes of a place

    def __post_init__(self):
        check_least(self, "bottleneck", ("codes", "width"))
        for name in ("decay", "restart"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"bottleneck.{name} is {getattr(self, name)}; it must be at least 0 and below 1.")
        if self.restart and self.learning != "ema":
            raise ConfigError("bottleneck.restart goes by moving counts, which bottleneck.learning 'ema' has; leave it 0.")

    @property
    def inputs(self) -> int:
        """Features that it reads."""
        return self.width

    @property
    def outputs(self) -> int:
        """Features that it gives."""
        return self.width


class VectorQuantizer(nn.Module):
    """The nearest vectors. Losses: "commitment", how far features lie from them; "codebook", the same with the gradient to the
    vectors, where they are learned by it."""

    config: VectorConfig

    def setup(self):
        c, shape = self.config, (self.config.codes, self.config.width)
        if c.learning == "loss":
            init = nn.with_logical_partitioning(_uniform, (None, None))
            self.embedding = self.param("embedding", init, shape, jnp.float32)
        else:
            start = lambda: _uniform(self.make_rng("params"), shape)  # noqa: E731
            self.moving = self.variable(CODEBOOK, "embedding", start)
            # Where the first batch makes the codebook, nothing has been counted; else every vector once.
            count = 0.0 if c.restart else 1.0
            self.counts = self.variable(CODEBOOK, "counts", lambda: jnp.full((c.codes,), count, jnp.float32))
            self.sums = self.variable(CODEBOOK, "sums", lambda: count * self.moving.value)

    def __call__(self, x: Float[Array, "batch *places width"], train: bool = False) -> Quantized:
        """The nearest vectors; while training, and where the collection "codebook" is mutable, it moves afterwards.

        Args:
            train: where vectors restart, a key "bottleneck" is needed.
        """
        c = self.config
        x = x.astype(jnp.float32)
        x = unit(x) if c.cosine else x
        table = self.table()
        codes = nearest(x, lax.stop_gradient(table))
        values = table[codes]
        losses = {"commitment": jnp.square(x - lax.stop_gradient(values)).mean()}
        if c.learning == "loss":
            losses["codebook"] = jnp.square(lax.stop_gradient(x) - values).mean()
        elif train and self.is_mutable_collection(CODEBOOK) and not self.is_initializing():
            self._move(lax.stop_gradient(x).reshape(-1, c.width), codes.reshape(-1))
        return Quantized(straight_through(x, values), codes, losses)

    def lookup(self, codes: Int[Array, "*places"]) -> Float[Array, "*places width"]:
        """The vectors of codes."""
        return self.table()[codes]

    def table(self) -> Float[Array, "codes width"]:
        table = self.embedding if self.config.learning == "loss" else self.moving.value
        return unit(table) if self.config.cosine else table

    def _move(self, x: Float[Array, "rows width"], codes: Int[Array, "rows"]) -> None:
        c = self.config
        seen = code_counts(codes, c.codes)
        sums = jnp.zeros_like(self.sums.value).at[codes].add(x)
        counts = c.decay * self.counts.value + (1 - c.decay) * seen
        sums = c.decay * self.sums.value + (1 - c.decay) * sums
        if c.restart:
            # As if the new vector had been the mean of so many features.
            least = c.restart * jnp.maximum(counts.sum(), (1 - c.decay) * len(x)) / c.codes
            dead = counts < least
            chosen = x[jax.random.randint(self.make_rng(RANDOM), (c.codes,), 0, len(x))]
            sums = jnp.where(dead[:, None], least * chosen, sums)
            counts = jnp.where(dead, least, counts)
        total = counts.sum()
        smoothed = (counts + c.epsilon) / (total + c.codes * c.epsilon) * total
        self.counts.value, self.sums.value = counts, sums
        self.moving.value = unit(sums) if c.cosine else sums / smoothed[:, None]


def nearest(x: Float[Array, "*places width"], table: Float[Array, "codes width"]) -> Int[Array, "*places"]:
    """The number of the row of a table at the smallest distance; of equally near ones, the first."""
    products = jnp.einsum("...D,KD->...K", x, table, precision=lax.Precision.HIGHEST)
    return jnp.argmin(jnp.square(table).sum(-1) - 2 * products, axis=-1).astype(jnp.int32)


def unit(x: Float[Array, "*lead width"]) -> Float[Array, "*lead width"]:
    """At length 1."""
    return x * lax.rsqrt(jnp.maximum(jnp.square(x).sum(-1, keepdims=True), 1e-12))


def _uniform(key: jax.Array, shape: tuple[int, int], dtype=jnp.float32) -> Float[Array, "codes width"]:
    """As in the published code: between -1 and 1 over the number of codes."""
    return jax.random.uniform(key, shape, dtype, -1.0 / shape[0], 1.0 / shape[0])
