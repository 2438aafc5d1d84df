"""Attention in plain XLA operations: all at once, or in chunks of queries."""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from genjax.layers.attention_mask import Masking
from genjax.parallel.rules import on_single_cpu

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
    whole = slice(0, query.shape[1]), slice(0, key.shape[1])
    return _attend(query, key, value, masking.dense(*whole), bias, "BSGK")


def cached_attention(
    query: Float[Array, "batch length heads head_dim"],
    key: Float[Array, "batch kv_heads slots head_dim"],
    value: Float[Array, "batch kv_heads slots head_dim"],
    masking: Masking,
    bias: Float[Array, "#batch #heads length slots"] | None = None,
) -> Float[Array, "batch length heads head_dim"]:
    """Attention of an already scaled query to the keys of a cache, in chunks of `QUERY_CHUNK` queries when there are many."""
    length, slots = query.shape[1], key.shape[2]

    def one(start: int) -> Array:
        queries = slice(start, min(start + QUERY_CHUNK, length))
        own_bias = None if bias is None else bias[:, :, queries]
        return _attend(query[:, queries], key, value, masking.dense(queries, slice(0, slots)), own_bias, "BGSK")

    if length == 1 and on_single_cpu():
        # Always true, and the compiler cannot know it. It would otherwise fuse the cache's update with each of its users, and so
        # copy the whole cache in every layer of every step.
        return lax.cond(masking.query_offset >= 0, lambda: one(0), lambda: jnp.zeros_like(query))
    return jnp.concatenate([one(start) for start in range(0, length, QUERY_CHUNK)], axis=1)


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
        def attend(query, key, value, bias):
            return _attend(query, key, value, masking.dense(queries, keys), bias, "BSGK")

        own_bias = None if bias is None else bias[:, :, queries, keys]
        return attend(query[:, queries], key[:, keys], value[:, keys], own_bias)

    length = query.shape[1]
    return jnp.concatenate([one(slice(i, min(i + QUERY_CHUNK, length))) for i in range(0, length, QUERY_CHUNK)], axis=1)


def attention_weights(
    query: Float[Array, "batch length heads head_dim"],
    key: Float[Array, "batch keys kv_heads head_dim"],
    masking: Masking,
    bias: Float[Array, "#batch #heads length keys"] | None = None,
) -> Float[Array, "batch heads length keys"]:
    """The float32 weights of an already scaled query, for a person to look at. A query that sees nothing has equal ones."""
    batch, length, heads, _ = query.shape
    whole = slice(0, length), slice(0, key.shape[1])
    return _weights(query, key, masking.dense(*whole), bias, "BSGK").reshape(batch, heads, length, key.shape[1])


def _attend(query: Array, key: Array, value: Array, allowed: Array | None, bias: Array | None, layout: str) -> Array:
    """`layout` names the dimensions of key and value: "BSGK", or "BGSK" as a cache stores them."""
    weights = _weights(query, key, allowed, bias, layout).astype(query.dtype)
    out = jnp.einsum(f"BGRTS,{layout}->BGRTK", weights, value.astype(query.dtype))
    return out.transpose(0, 3, 1, 2, 4).reshape(query.shape)


def _weights(query: Array, key: Array, allowed: Array | None, bias: Array | None, layout: str) -> Array:
    """Float32 [batch kv_heads group length keys]."""
    batch, length, heads, head_dim = query.shape
    kv_heads = key.shape[layout.index("G")]
    group = heads // kv_heads
    grouped = query.reshape(batch, length, kv_heads, group, head_dim)
    logits = jnp.einsum(f"BTGRK,{layout}->BGRTS", grouped, key.astype(query.dtype), preferred_element_type=jnp.float32)
    if bias is not None:
        logits = logits + _by_group(bias.astype(jnp.float32), kv_heads, group)
    if allowed is not None:
        logits = jnp.where(_by_group(allowed, kv_heads, group), logits, MASKED)
    return jax.nn.softmax(logits, axis=-1)


def _by_group(x: Array, kv_heads: int, group: int) -> Array:
    """[#batch #heads length keys] -> [#batch #kv_heads #group length keys]."""
    if x.shape[1] == 1:
        return x[:, :, None]
    return x.reshape(x.shape[0], kv_heads, group, *x.shape[2:])
