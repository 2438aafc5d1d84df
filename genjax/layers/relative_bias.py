"""T5's positions: a learned bias on attention for each head and each bucket of distances (Raffel et al., 2020, section 2.1)."""

import math
from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float, Int

from genjax.layers.linear import Initializer


class RelativeBias(nn.Module):
    """A bias that depends on key position - query position only. Padding and packing need no care: both move the two alike.

    Attributes:
        num_heads: query heads.
        num_buckets: how many distances are told apart. Bidirectional, half of them are for keys after the query.
        max_distance: distances from here on share one bucket.
        bidirectional: whether keys after the query are told apart; else they share the bucket of distance 0.
        embedding_init: initializer of the table.
    """

    num_heads: int
    num_buckets: int = 32
    max_distance: int = 128
    bidirectional: bool = True
    embedding_init: Initializer = nn.initializers.normal(0.02)

    @nn.compact
    def __call__(
        self, query_positions: Int[Array, "length"], key_positions: Int[Array, "keys"]
    ) -> Float[Array, "1 heads length keys"]:
        init = nn.with_logical_partitioning(self.embedding_init, ("position", "heads"))
        table = self.param("embedding", init, (self.num_buckets, self.num_heads), jnp.float32)
        distances = key_positions[None, :] - query_positions[:, None]
        buckets = relative_buckets(distances, self.num_buckets, self.max_distance, self.bidirectional)
        # A product with one-hot rows: the gradient of a lookup would add up into few rows one entry after the other.
        chosen = jax.nn.one_hot(buckets, self.num_buckets, dtype=jnp.float32)
        return jnp.einsum("TSN,NH->HTS", chosen, table)[None]


def relative_buckets(
    distances: Int[Array, "*lead"], num_buckets: int, max_distance: int, bidirectional: bool
) -> Int[Array, "*lead"]:
    """Bucket of each key position - query position: small ones have their own, larger ones share wider and wider ones."""
    share = num_buckets // 2 if bidirectional else num_buckets
    after = jnp.where(distances > 0, share, 0) if bidirectional else 0
    away = jnp.abs(distances) if bidirectional else jnp.maximum(-distances, 0)
    return jnp.asarray(_bucket_table(share, max_distance))[jnp.minimum(away, max_distance)] + after


@lru_cache
def _bucket_table(num_buckets: int, max_distance: int) -> np.ndarray:
    """Buckets of the distances 0, 1, ..., max_distance."""
    exact = num_buckets // 2
    distances = np.arange(max_distance + 1, dtype=np.float32)
    # The roundings of float32, one after the other: where a distance lies on the border of two buckets they decide.
    steps = np.log(np.maximum(distances, 1) / np.float32(exact)) / np.float32(math.log(max_distance / exact))
    wide = exact + (steps * np.float32(num_buckets - exact)).astype(np.int32)
    return np.where(distances < exact, distances, np.minimum(wide, num_buckets - 1)).astype(np.int32)
