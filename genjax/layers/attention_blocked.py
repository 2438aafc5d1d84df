"""Attention for one CPU device: blocks of queries that stay in the cache, and no weights kept for the backward pass.

The algorithm is FlashAttention's (Dao et al., 2022) with whole rows of keys: the forward pass keeps the logarithm of each query's
normalizer, and the backward pass computes the weights from it again. A causal block looks only at keys up to its own end. The
barriers keep XLA's CPU compiler from fusing a reduction into the consumers of its operand, which would compute each exponential
several times.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from genjax.layers.attention_mask import Masking

MASKED = -1e30
_BLOCK_BYTES = 1 << 20  # weights of the heads that are worked on at a time; measured: half of a core's second-level cache
_WHOLE_BYTES = 1 << 21  # up to here a loop over heads costs more than it saves


def blocked_attention(
    query: Float[Array, "batch length heads head_dim"],
    key: Float[Array, "batch keys kv_heads head_dim"],
    value: Float[Array, "batch keys kv_heads head_dim"],
    masking: Masking,
) -> Float[Array, "batch length heads head_dim"]:
    """Attention of an already scaled query. A dense mask of `masking` is one for all rows and heads, and its `query_offset`
    a Python number (`blocked_takes`)."""
    batch, length, heads, head_dim = query.shape
    keys, kv_heads = key.shape[1:3]
    repeats = heads // kv_heads
    rows = batch * kv_heads
    blocks = _blocks(masking, length, keys)
    largest = 4 * repeats * max((q.stop - q.start) * (k.stop - k.start) for q, k in blocks)
    limit = _WHOLE_BYTES if rows * largest <= _WHOLE_BYTES else _BLOCK_BYTES
    group = max(size for size in range(1, rows + 1) if rows % size == 0 and (size == 1 or size * largest <= limit))

    def split(x: Array, *shape: int) -> Array:
        """[batch length (kv_heads repeats) head_dim] -> [groups group repeats length head_dim]."""
        return x.transpose(0, 2, 1, 3).reshape(rows // group, group, *shape, x.shape[1], head_dim)

    def split_ids(ids: Array | None) -> Array | None:
        if ids is None:
            return None
        return jnp.broadcast_to(ids[:, None], (batch, kv_heads, ids.shape[1])).reshape(rows // group, group, ids.shape[1])

    ids = split_ids(masking.query_segment_ids), split_ids(masking.key_segment_ids)
    rule = (masking.causal, masking.sliding_window, masking.query_offset)
    out = _attend(split(query, repeats), split(key), split(value), ids, masking.mask, tuple(map(_plain, blocks)), rule)
    return out.reshape(batch, heads, length, head_dim).transpose(0, 2, 1, 3)


def blocked_takes(masking: Masking) -> bool:
    """Whether `blocked_attention` computes attention under these masks."""
    return isinstance(masking.query_offset, int) and (masking.mask is None or masking.mask.shape[:2] == (1, 1))


def _blocks(masking: Masking, length: int, keys: int) -> list[tuple[slice, slice]]:
    """Ranges of queries, each with the range of keys that it may see."""
    size = min(max(-(-length // 8) // 64 * 64, 64), 512)
    ranges = [slice(start, min(start + size, length)) for start in range(0, length, size)]
    return [(queries, masking.visible_keys(queries, keys)) for queries in ranges]


def _plain(block: tuple[slice, slice]) -> tuple[int, int, int, int]:
    return block[0].start, block[0].stop, block[1].start, block[1].stop


@partial(jax.custom_vjp, nondiff_argnums=(5, 6))
def _attend(query, key, value, ids, mask, blocks, rule):
    return _forward(query, key, value, ids, mask, blocks, rule)[0]


def _forward(query, key, value, ids, mask, blocks, rule):
    out, normalizers = _over_groups(partial(_group_forward, blocks, rule, mask), query, key, value, ids)
    return out, (query, key, value, ids, mask, out, normalizers)


def _backward(blocks, rule, residuals, gradient):
    query, key, value, ids, mask, out, normalizers = residuals
    function = partial(_group_backward, blocks, rule, mask)
    return *_over_groups(function, query, key, value, ids, out, normalizers, lax.optimization_barrier(gradient)), None, None


_attend.defvjp(_forward, _backward)


def _over_groups(function, *operands):
    if operands[0].shape[0] > 1:
        return lax.map(lambda group: function(*group), operands)
    return jax.tree.map(lambda x: x[None], function(*jax.tree.map(lambda x: x[0], operands)))


def _logits(query, key, ids, mask, block, rule):
    """Masked inner products of one block: [group repeats queries keys]."""
    first, last, first_key, last_key = block
    causal, window, offset = rule
    masking = Masking(causal, window, *ids, mask, offset)
    logits = jnp.einsum("NRTK,NSK->NRTS", query[:, :, first:last], key[:, first_key:last_key], preferred_element_type=jnp.float32)
    allowed = masking.dense(slice(first, last), slice(first_key, last_key))
    return logits if allowed is None else jnp.where(allowed, logits, MASKED)


def _group_forward(blocks, rule, mask, query, key, value, ids):
    outs, normalizers = [], []
    for block in blocks:
        logits = _logits(query, key, ids, mask, block, rule)
        logits, largest = lax.optimization_barrier((logits, logits.max(-1, keepdims=True)))
        weights = jnp.exp(logits - largest)
        weights, total = lax.optimization_barrier((weights, weights.sum(-1, keepdims=True)))
        values = value[:, block[2] : block[3]]
        out = jnp.einsum("NRTS,NSK->NRTK", weights.astype(values.dtype), values, preferred_element_type=jnp.float32)
        outs.append((out / total).astype(query.dtype))
        # A query that sees no key would have the weights 1 in the backward pass; this makes them 0.
        normalizers.append(jnp.where(largest <= MASKED, -MASKED, largest + jnp.log(total)))
    return jnp.concatenate(outs, 2), jnp.concatenate(normalizers, 2)


def _group_backward(blocks, rule, mask, query, key, value, ids, out, normalizers, gradient):
    query_gradients, key_gradients, value_gradients = [], [], []
    for block in blocks:
        first, last, first_key, last_key = block
        queries, keys = slice(first, last), slice(first_key, last_key)
        logits = _logits(query, key, ids, mask, block, rule)
        weights = lax.optimization_barrier(jnp.exp(logits - normalizers[:, :, queries]))
        own = gradient[:, :, queries]
        inner = (own.astype(jnp.float32) * out[:, :, queries]).sum(-1, keepdims=True)
        outer = jnp.einsum("NRTK,NSK->NRTS", own, value[:, keys], preferred_element_type=jnp.float32)
        outer, inner = lax.optimization_barrier((outer, inner))
        logits_gradient = lax.optimization_barrier((weights * (outer - inner)).astype(query.dtype))
        query_gradients.append(jnp.einsum("NRTS,NSK->NRTK", logits_gradient, key[:, keys]))
        key_gradients.append(jnp.einsum("NRTS,NRTK->NSK", logits_gradient, query[:, :, queries]))
        value_gradients.append(jnp.einsum("NRTS,NRTK->NSK", weights.astype(own.dtype), own))

    def total(parts: list[Array]) -> Array:
        length = key.shape[1]
        padded = [
            jnp.pad(part, ((0, 0), (start, length - stop), (0, 0)))
            for part, (_, _, start, stop) in zip(parts, blocks, strict=True)
        ]
        return sum(padded[1:], padded[0])

    return jnp.concatenate(query_gradients, 2), total(key_gradients), total(value_gradients)
