"""The relaxed choice of a codebook's vector by Gumbel noise (Jang et al., 2017; the discrete VAE of Ramesh et al., 2021)."""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int

from genjax.config import check_least
from genjax.errors import ConfigError
from genjax.quantization.quantized import RANDOM, Quantized, straight_through


@dataclass(frozen=True)
class GumbelConfig:
    """A codebook that is chosen from by logits.

    Attributes:
        codes: vectors of it, and logits that are read for each place.
        width: of a vector.
        hard: whether one vector is given also while training, with the gradient of the mixture.
        gain: what is read is multiplied by it to be the logits. The noise has a deviation of 1.3; where logits stand out of it
            from the first step, codes are learned sooner.
    """

    codes: int = 512
    width: int = 64
    hard: bool = False
    gain: float = 1.0

    depth = 1  # codes of a place

    def __post_init__(self):
        check_least(self, "bottleneck", ("codes", "width"))
        if self.gain <= 0:
            raise ConfigError(f"bottleneck.gain is {self.gain}; it must be above 0.")

    @property
    def inputs(self) -> int:
        return self.codes

    @property
    def outputs(self) -> int:
        return self.width


class GumbelQuantizer(nn.Module):
    """Logits of codes to vectors. Losses: "kl", the nats of an example by which its codes differ from being equally likely."""

    config: GumbelConfig

    def setup(self):
        c = self.config
        init = nn.with_logical_partitioning(nn.initializers.normal(1.0), (None, None))
        self.embedding = self.param("embedding", init, (c.codes, c.width), jnp.float32)

    def __call__(
        self, x: Float[Array, "batch *places codes"], train: bool = False, temperature: float | Float[Array, ""] = 1.0
    ) -> Quantized:
        """While training a mixture of vectors (needs a key "bottleneck"), else the likeliest.

        Args:
            temperature: of the mixture; towards 0 it becomes one vector.
        """
        c = self.config
        logits = x.astype(jnp.float32) * c.gain
        codes = jnp.argmax(logits, axis=-1).astype(jnp.int32)
        share = jax.nn.one_hot(codes, c.codes)
        if train:
            mixture = relaxed(jax.random.gumbel(self.make_rng(RANDOM), logits.shape), logits, temperature)
            drawn = jnp.argmax(mixture, axis=-1)
            share = straight_through(mixture, jax.nn.one_hot(drawn, c.codes)) if c.hard else mixture
        log_shares = jax.nn.log_softmax(logits)
        divergence = (jnp.exp(log_shares) * (log_shares + math.log(c.codes))).sum(-1)
        return Quantized(share @ self.embedding, codes, {"kl": divergence.sum() / len(x)})

    def lookup(self, codes: Int[Array, "*places"]) -> Float[Array, "*places width"]:
        return self.embedding[codes]


def relaxed(
    noise: Float[Array, "*lead codes"], logits: Float[Array, "*lead codes"], temperature: float | Float[Array, ""]
) -> Float[Array, "*lead codes"]:
    """The shares of Jang et al., 2017, equation 2, for standard Gumbel noise."""
    return jax.nn.softmax((logits + noise) / temperature)
