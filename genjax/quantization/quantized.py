"""What every bottleneck gives, and what they share."""

from collections.abc import Mapping
from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

CODEBOOK = "codebook"  # the collection of codebooks that move by themselves, and of what they have counted
RANDOM = "bottleneck"  # the name of the random keys that bottlenecks draw from while training


class Quantized(NamedTuple):
    """What a bottleneck makes of features.

    Attributes:
        values: what a decoder reads; gradients go through them to the features as the bottleneck defines it.
        codes: which of the finitely many values they are, where there is one for each place; where each place has several, they
            are the last axis. None for a bottleneck without codes.
        losses: by name, each a mean over the batch, unweighted.
    """

    values: Float[Array, "batch *places width"]
    codes: Int[Array, "batch *places"] | Int[Array, "batch *places depth"] | None
    losses: Mapping[str, Float[Array, ""]]


def straight_through(x: Float[Array, "*shape"], rounded: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """`rounded`, whose gradient is that of x (Bengio et al., 2013)."""
    return x + lax.stop_gradient(rounded - x)


def code_counts(codes: Int[Array, "*places"], size: int) -> Float[Array, "size"]:
    """How often each of `size` codes is among these."""
    return jnp.zeros((size,), jnp.float32).at[codes.reshape(-1)].add(1.0)


def perplexity(counts: Float[Array, "size"]) -> Float[Array, ""]:
    """How many codes are in use, as if all that are were equally frequent: the exponential of the entropy of their shares."""
    shares = counts / jnp.maximum(counts.sum(), 1.0)
    return jnp.exp(-jnp.sum(shares * jnp.log(jnp.maximum(shares, 1e-30))))
