"""One entry point for attention, whatever computes it.

`attention` serves self-attention, cross-attention and decoding from a cache, with as many key heads as query heads (MHA), fewer
(GQA) or one (MQA). `choose_implementation` says which kernel will do the work; the loop prints it.
"""

from typing import Literal, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from genjax.errors import ConfigError
from genjax.layers.attention_blocked import blocked_attention, blocked_takes
from genjax.layers.attention_cudnn import cudnn_attention
from genjax.layers.attention_dense import (
    QUERY_CHUNK,
    attention_weights,
    cached_attention,
    chunked_attention,
    dense_attention,
)
from genjax.layers.attention_mask import Masking
from genjax.parallel.rules import current_context, current_platform, on_single_cpu

Implementation = Literal["auto", "xla", "chunked", "cudnn", "splash"]


class Choice(NamedTuple):
    """Which kernel computes attention, and why."""

    implementation: str
    reason: str


def choose_implementation(
    requested: Implementation,
    *,
    query_length: int,
    key_length: int,
    head_dim: int,
    dtype: jnp.dtype = jnp.float32,
    causal: bool = True,
    dense_bias: bool = False,
    cached: bool = False,
    platform: str | None = None,
) -> Choice:
    """The kernel for attention of these shapes on this platform.

    Args:
        requested: a kernel, or "auto" to choose by platform.
        query_length, key_length: global lengths in tokens.
        dense_bias: whether a bias or a mask of shape [query, key] is given; fused kernels other than cuDNN's do not take it.
        cached: whether keys come from a cache, whose filled length is known only when the program runs.
        platform: "cpu", "gpu" or "tpu"; by default, the one of the parallel context.

    Raises:
        ConfigError: a fused kernel is requested on a platform that has none.
    """
    platform = platform or current_platform()
    long = query_length >= 2 * QUERY_CHUNK
    if requested in ("xla", "chunked"):
        return Choice(requested, "requested")
    if requested == "splash" and platform != "tpu":
        raise ConfigError(f"attention 'splash' is a TPU kernel, but this program is for {platform}; use 'auto'.")
    if requested == "cudnn" and platform != "gpu":
        raise ConfigError(f"attention 'cudnn' is a kernel for NVIDIA GPUs, but this program is for {platform}; use 'auto'.")
    fallback = "chunked" if long else "xla"
    if query_length == 1:
        return Choice("xla", "one query")
    if cached:
        return Choice(fallback, "queries start where the cache ends, known only at run time")
    if platform == "tpu":
        if dense_bias:
            return Choice(fallback, "splash takes no bias")
        if min(query_length, key_length) < 128:
            return Choice(fallback, "fewer than 128 tokens")
        return Choice("splash", "Pallas kernel for TPU")
    if platform == "gpu":
        if dtype not in (jnp.bfloat16, jnp.float16):
            return Choice(fallback, "cuDNN takes bfloat16 and float16 only")
        if head_dim % 8 or head_dim > 128:
            return Choice(fallback, f"cuDNN takes head_dim up to 128 in steps of 8, not {head_dim}")
        return Choice("cudnn", "cuDNN's flash attention")
    if on_single_cpu():
        return Choice("chunked", "blocks of queries that stay in the processor's cache")
    return Choice(fallback, f"{query_length} queries in chunks of {QUERY_CHUNK}" if long else "short sequence")


def attention(
    query: Float[Array, "batch length heads head_dim"],
    key: Float[Array, "batch keys kv_heads head_dim"],
    value: Float[Array, "batch keys kv_heads head_dim"],
    *,
    causal: bool,
    sliding_window: int = 0,
    query_segment_ids: Int[Array, "batch length"] | None = None,
    key_segment_ids: Int[Array, "batch keys"] | None = None,
    bias: Float[Array, "#batch #heads length keys"] | None = None,
    mask: Bool[Array, "#batch #heads length keys"] | None = None,
    query_offset: int | Int[Array, ""] = 0,
    cached: bool = False,
    scale: float | None = None,
    implementation: Implementation = "auto",
) -> Float[Array, "batch length heads head_dim"]:
    """softmax(scale · query keyᵀ + bias) value, over the keys that the masks leave (Vaswani et al., 2017, equation 1).

    The softmax is in float32. `heads` is a multiple of `kv_heads`; query head h uses key head h // (heads / kv_heads). A query
    that may see no key gets a finite value without meaning, and passes no gradient to queries and keys.

    Args:
        causal: query i sees keys up to i + query_offset.
        sliding_window: with w > 0, query i sees the w keys that end at its own, i + query_offset - w < key. Needs `causal`.
        query_segment_ids, key_segment_ids: a query sees keys of its own segment only. Both or neither.
        bias: added to the scaled inner products.
        mask: True where a query may see a key.
        query_offset: the key index of the first query.
        cached: keys and values are those of a `KVCache`, [batch kv_heads slots head_dim], and `query_offset` is a traced number;
            there is one way to compute it then, whatever `implementation` says.
        scale: head_dim ** -0.5 by default; 1.0 for T5.
        implementation: see `choose_implementation`.

    Raises:
        ConfigError: sliding_window without causal, or a kernel that cannot do what is asked.
    """
    if sliding_window and not causal:
        raise ConfigError(f"sliding_window {sliding_window} needs causal attention; use 0 for bidirectional attention.")
    kv_heads = key.shape[1 if cached else 2]
    if query.shape[2] % kv_heads:
        raise ConfigError(f"{query.shape[2]} query heads are not a multiple of {kv_heads} key heads.")
    if (query_segment_ids is None) != (key_segment_ids is None):
        raise ValueError("query_segment_ids and key_segment_ids are given together or not at all")
    query = _scaled(query, scale)
    masking = Masking(causal, sliding_window, query_segment_ids, key_segment_ids, mask, query_offset)
    if cached:
        return cached_attention(query, key, value, masking, bias)
    choice = choose_implementation(
        implementation,
        query_length=query.shape[1],
        key_length=key.shape[1],
        head_dim=query.shape[3],
        dtype=query.dtype,
        causal=causal,
        dense_bias=bias is not None or mask is not None,
        cached=not isinstance(query_offset, int) or query_offset != 0,
    )
    if choice.implementation == "splash":
        from genjax.layers.attention_splash import splash_attention  # a fifth of a second that only TPUs need

        return splash_attention(query, key, value, masking, current_context())
    if choice.implementation == "cudnn":
        return cudnn_attention(query, key, value, masking, bias)
    if choice.implementation == "chunked":
        if on_single_cpu() and bias is None and blocked_takes(masking):
            return blocked_attention(query, key, value, masking)
        return chunked_attention(query, key, value, masking, bias)
    return dense_attention(query, key, value, masking, bias)


def visible_weights(
    query: Float[Array, "batch length heads head_dim"],
    key: Float[Array, "batch keys kv_heads head_dim"],
    *,
    causal: bool,
    sliding_window: int = 0,
    query_segment_ids: Int[Array, "batch length"] | None = None,
    key_segment_ids: Int[Array, "batch keys"] | None = None,
    bias: Float[Array, "#batch #heads length keys"] | None = None,
    mask: Bool[Array, "#batch #heads length keys"] | None = None,
    scale: float | None = None,
) -> Float[Array, "batch heads length keys"]:
    """The float32 weights by which `attention` of the same arguments averages its values: for a person to look at, since all of
    them exist in memory."""
    masking = Masking(causal, sliding_window, query_segment_ids, key_segment_ids, mask, 0)
    return attention_weights(_scaled(query, scale), key, masking, bias)


def _scaled(query: Array, scale: float | None) -> Array:
    return (query * (query.shape[-1] ** -0.5 if scale is None else scale)).astype(query.dtype)
