"""Token embeddings, and logits against them."""

import math

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int

from genjax.layers.linear import TRANSPOSED, Initializer, contract
from genjax.parallel.rules import constrain


class Embedding(nn.Module):
    """A table of vectors; its transpose can serve as the output head (tied embeddings).

    Attributes:
        count: rows of the table: vocabulary or positions.
        features: width of a row.
        count_axis: logical name of the rows, "vocab" or "position"; None for rows that no mesh splits.
        embedding_init: initializer of the table.
        dtype: the computation's dtype; the table is float32.
    """

    count: int
    features: int
    count_axis: str | None = "vocab"
    embedding_init: Initializer = nn.initializers.normal(0.02)
    dtype: jnp.dtype = jnp.float32

    def setup(self):
        init = nn.with_logical_partitioning(self.embedding_init, (self.count_axis, "embed"))
        self.embedding = self.param("embedding", init, (self.count, self.features), jnp.float32)

    def __call__(self, ids: Int[Array, "*lead"]) -> Float[Array, "*lead features"]:
        """Rows of the table. Ids outside [0, count) are clipped."""
        return jnp.take(self._table(), ids, axis=0, mode="clip")

    def attend(self, x: Float[Array, "*lead features"], rows: slice = slice(None)) -> Float[Array, "*lead rows"]:
        """Inner products with rows of the table, by default with all, in float32."""
        if math.prod(x.shape[:-1]) > 1 and self.has_variable(TRANSPOSED, "embedding"):
            table = self.get_variable(TRANSPOSED, "embedding")[:, rows].astype(self.dtype)
            return contract(x.astype(self.dtype), table, out_dtype=jnp.float32)
        return contract(x.astype(self.dtype), self._table()[rows], transposed=True, out_dtype=jnp.float32)

    def _table(self) -> Float[Array, "count features"]:
        # Cast, then gather the features: a lookup in a table whose features are sharded would shard its result by
        # feature and have to move every activation back.
        return constrain(self.embedding.astype(self.dtype), self.count_axis, None)
