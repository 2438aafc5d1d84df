"""Which query may see which key."""

from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, Bool, Int


@dataclass(frozen=True)
class Masking:
    """Everything that forbids a query to see a key. See `genjax.layers.attention.attention`."""

    causal: bool
    sliding_window: int
    query_segment_ids: Int[Array, "batch length"] | None
    key_segment_ids: Int[Array, "batch keys"] | None
    mask: Bool[Array, "#batch #heads length keys"] | None
    query_offset: int | Int[Array, ""]

    def dense(self, queries: slice, keys: slice) -> Bool[Array, "#batch #heads queries keys"] | None:
        """True where a query of the range may see a key of the range; None when all may see all."""
        parts = []
        if self.causal:
            query = jnp.arange(queries.start, queries.stop, dtype=jnp.int32)[:, None] + self.query_offset
            key = jnp.arange(keys.start, keys.stop, dtype=jnp.int32)[None, :]
            parts.append((key <= query)[None, None])
            if self.sliding_window:
                parts.append((key > query - self.sliding_window)[None, None])
        if self.query_segment_ids is not None:
            query, key = self.query_segment_ids[:, queries], self.key_segment_ids[:, keys]
            parts.append((query[:, :, None] == key[:, None, :])[:, None])
        if self.mask is not None:
            parts.append(self.mask[:, :, queries, keys])
        allowed = None
        for part in parts:
            allowed = part if allowed is None else allowed & part
        return allowed

    def visible_keys(self, queries: slice, keys: int) -> slice:
        """The smallest known range of keys outside of which no query of the range sees anything; never empty."""
        if not self.causal or not isinstance(self.query_offset, int):
            return slice(0, keys)
        stop = min(max(queries.stop + self.query_offset, 1), keys)
        start = max(queries.start + self.query_offset - self.sliding_window + 1, 0) if self.sliding_window else 0
        return slice(min(start, stop - 1), stop)
