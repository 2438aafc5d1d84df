"""Attention in plain XLA operations: all at once, or in chunks of queries."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from genjax.layers.attention_mask import Masking

QUERY_CHUNK = 512
MASKED = -1e30  # finite, so that a query that sees nothing gets an average and not NaN


def dense_attention(
    query: Float[Array, "batch length heads head_dim"],
    key: Float[Array, "batch keys kv_heads head_dim"],
    value: Float[Array, "batch keys kv_heads head_dim"],
    masking: Masking,
    bias: Float[Array, "#batch #heads length keys"] | None = None,
) -> Float[Array, "batch length heads head_dim"]:
    """Attention of an already scaled query; the weights [batch heads length keys] exist in memory."""
    return _attend(query, key, value, masking, bias, slice(0, query.shape[1]), slice(0, key.shape[1]))


def chunked_attention(
    query: Float[Array, "batch length heads head_dim"],
    key: Float[Array, "batch keys kv_heads head_dim"],
    value: Float[Array, "batch keys kv_heads head_dim"],
    masking: Masking,
    bias: Float[Array, "#batch #heads length keys"] | None = None,
) -> Float[Array, "batch length heads head_dim"]:
    """The same in chunks of `QUERY_CHUNK` queries, whose weights are computed again in the backward pass.

    A causal chunk looks only at keys up to its own end, a windowed one only from its window's beginning.
    """

    def one(queries: slice) -> Array:
        keys = masking.visible_keys(queries, key.shape[1])

        @jax.checkpoint
        def attend(query, key, value):
            return _attend(query, key, value, masking, bias, queries, keys)

        return attend(query[:, queries], key[:, keys], value[:, keys])

    length = query.shape[1]
    return jnp.concatenate([one(slice(i, min(i + QUERY_CHUNK, length))) for i in range(0, length, QUERY_CHUNK)], axis=1)


def _attend(query, key, value, masking: Masking, bias, queries: slice, keys: slice) -> Array:
    batch, length, heads, head_dim = query.shape
    kv_heads = key.shape[2]
    group = heads // kv_heads
    allowed = masking.dense(queries, keys)
    grouped = query.reshape(batch, length, kv_heads, group, head_dim)
    logits = jnp.einsum("BTGRK,BSGK->BGRTS", grouped, key.astype(query.dtype), preferred_element_type=jnp.float32)
    if bias is not None:
        logits = logits + _by_group(bias[:, :, queries, keys].astype(jnp.float32), kv_heads, group)
    if allowed is not None:
        logits = jnp.where(_by_group(allowed, kv_heads, group), logits, MASKED)
    weights = jax.nn.softmax(logits, axis=-1).astype(query.dtype)
    out = jnp.einsum("BGRTS,BSGK->BTGRK", weights, value.astype(query.dtype))
    return out.reshape(batch, length, heads, head_dim)


def _by_group(x: Array, kv_heads: int, group: int) -> Array:
    """[#batch #heads length keys] -> [#batch #kv_heads #group length keys]."""
    if x.shape[1] == 1:
        return x[:, :, None]
    return x.reshape(x.shape[0], kv_heads, group, *x.shape[2:])
