"""The cache of keys and values for decoding: static shape, rows of different prompt lengths side by side."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import struct
from jax import lax
from jaxtyping import Array, Float, Int

from genjax.parallel.rules import constrain


@struct.dataclass
class KVCache:
    """Keys and values of every layer, for `S` slots of `B` rows.

    Prompts are left-padded, so that one slot index serves all rows: slot s of row b holds position s - start[b], and slots
    below start[b] are never attended. Writing beyond the last slot is not checked: `index + T <= S` is the caller's to keep.

    Attributes:
        key, value: a tuple of [B G S K] arrays, one for each layer; or one [L B G S K] array when layers are scanned. Heads come
            before slots, so that a step reads each head's keys as one matrix.
        index: int32 scalar, the next free slot.
        start: int32 [B], the first valid slot of each row.
        cross_key, cross_value: keys and values of what a decoder attends to beside its own tokens, in the layout of `key` with S
            the length of that context, computed once; None where there is no cross-attention. They have a row for each
            context: rows that continue the same prompt stand side by side and share it.
        cross_segment_ids: int32 [contexts, length], 0 where a context is padding; None where none is padded.
    """

    key: tuple[Float[Array, "batch kv_heads slots head_dim"], ...] | Float[Array, "layers batch kv_heads slots head_dim"]
    value: tuple[Float[Array, "batch kv_heads slots head_dim"], ...] | Float[Array, "layers batch kv_heads slots head_dim"]
    index: Int[Array, ""]
    start: Int[Array, "batch"]
    cross_key: tuple[Float[Array, "..."], ...] | Float[Array, "..."] | None = None
    cross_value: tuple[Float[Array, "..."], ...] | Float[Array, "..."] | None = None
    cross_segment_ids: Int[Array, "contexts context_length"] | None = None

    @property
    def slots(self) -> int:
        """How many tokens a row can hold."""
        return (self.key[0] if isinstance(self.key, tuple) else self.key).shape[-2]

    def positions(self, length: int) -> Int[Array, "batch length"]:
        """Positions of the next `length` tokens; those of padding are 0."""
        slots = self.index + jnp.arange(length, dtype=jnp.int32)
        return jnp.maximum(slots[None, :] - self.start[:, None], 0)

    def segment_ids(self, length: int) -> tuple[Int[Array, "batch length"], Int[Array, "batch slots"]]:
        """Segments of the next `length` tokens and of all slots: 1 where a row has begun, 0 in its padding."""
        query = self.index + jnp.arange(length, dtype=jnp.int32)[None, :] >= self.start[:, None]
        key = jnp.arange(self.slots, dtype=jnp.int32)[None, :] >= self.start[:, None]
        return query.astype(jnp.int32), key.astype(jnp.int32)

    def cross(
        self, layer: int | Int[Array, ""]
    ) -> tuple[Float[Array, "contexts kv_heads keys head_dim"], Float[Array, "contexts kv_heads keys head_dim"]] | None:
        """A layer's keys and values of the context, or None without one."""
        if self.cross_key is None:
            return None
        if isinstance(self.cross_key, tuple):
            return self.cross_key[layer], self.cross_value[layer]
        return tuple(lax.dynamic_index_in_dim(stack, layer, keepdims=False) for stack in (self.cross_key, self.cross_value))

    def advance(self, length: int) -> "KVCache":
        """The cache after `length` tokens were written to every layer."""
        return self.replace(index=self.index + length)


def init_cache(
    num_layers: int,
    batch: int,
    length: int,
    kv_heads: int,
    head_dim: int,
    dtype: jnp.dtype = jnp.float32,
    stacked: bool = False,
    start: Int[Array, "batch"] | None = None,
) -> KVCache:
    """An empty cache of `length` slots, sharded over rows and key heads inside a parallel context.

    Args:
        start: the first valid slot of each row, its left padding; 0 by default.
    """
    start = jnp.zeros((batch,), jnp.int32) if start is None else jnp.asarray(start, jnp.int32)
    index = jnp.zeros((), jnp.int32)

    def empty(*leading: int) -> Array:
        return _constrain(jnp.zeros((*leading, batch, kv_heads, length, head_dim), dtype))

    if stacked:
        return KVCache(empty(num_layers), empty(num_layers), index, start)
    return KVCache(tuple(empty() for _ in range(num_layers)), tuple(empty() for _ in range(num_layers)), index, start)


def with_context(
    cache: KVCache,
    keys_values: Sequence[tuple[Array, Array]] | tuple[Array, Array],
    segment_ids: Int[Array, "contexts context_length"] | None = None,
) -> KVCache:
    """The cache with keys and values of a context in it.

    Args:
        keys_values: what `MultiHeadAttention.keys_values` gives, [B S G K] for each layer; where the cache's layers are stacked,
            one pair of [L B S G K].
        segment_ids: 0 where a context is padding.
    """
    turned = jax.tree.map(lambda x: _constrain(x.swapaxes(-3, -2)), keys_values)
    key, value = zip(*turned, strict=True) if isinstance(cache.key, tuple) else turned
    return cache.replace(cross_key=key, cross_value=value, cross_segment_ids=segment_ids)


def write(
    cache: KVCache,
    layer: int | Int[Array, ""],
    key: Float[Array, "batch length kv_heads head_dim"],
    value: Float[Array, "batch length kv_heads head_dim"],
) -> tuple[KVCache, Float[Array, "batch kv_heads slots head_dim"], Float[Array, "batch kv_heads slots head_dim"]]:
    """Puts a layer's new keys and values at `cache.index`; returns the cache and all keys and values of that layer.

    `layer` is a Python number when the layers are a tuple, and may be traced when they are stacked.
    """
    stored = []
    for old, new in ((cache.key, key.swapaxes(1, 2)), (cache.value, value.swapaxes(1, 2))):
        if isinstance(old, tuple):
            whole = lax.dynamic_update_slice(old[layer], new.astype(old[layer].dtype), (0, 0, cache.index, 0))
            whole = _constrain(whole)
            stored.append(((*old[:layer], whole, *old[layer + 1 :]), whole))
        else:
            # In place within the scan's carry: only the new slots are written.
            stack = lax.dynamic_update_slice(old, new.astype(old.dtype)[None], (layer, 0, 0, cache.index, 0))
            stack = _constrain(stack)
            stored.append((stack, lax.dynamic_index_in_dim(stack, layer, keepdims=False)))
    (keys, all_keys), (values, all_values) = stored
    return cache.replace(key=keys, value=values), all_keys, all_values


def _constrain(x: jax.Array) -> jax.Array:
    names = ("activation_batch", "activation_kv_heads", None, "activation_head_dim")
    return constrain(x, *(None,) * (x.ndim - 4), *names)
