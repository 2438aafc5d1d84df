"""Multi-head attention as a module: projections, rotary embedding, cache, output."""

import jax.numpy as jnp
from flax import linen as nn
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Bool, Float, Int

from genjax.layers.attention import Implementation, attention
from genjax.layers.cache import KVCache, write
from genjax.layers.linear import Initializer, Projection
from genjax.layers.position import rotate
from genjax.parallel.rules import constrain


class MultiHeadAttention(nn.Module):
    """Self-attention, or cross-attention when `context` is given; MHA, GQA or MQA by `num_kv_heads`.

    Attributes:
        num_heads, num_kv_heads, head_dim: query heads, key and value heads, width of a head.
        causal, sliding_window, scale: see `genjax.layers.attention.attention`.
        use_bias: biases on all four projections.
        key_bias: whether, then, the key's has one (a key's bias changes no softmax; Whisper leaves it out).
        implementation: the attention kernel.
        kernel_init: initializer of query, key and value.
        out_init: initializer of out, which writes into the residual stream.
        dtype: the computation's dtype.
    """

    num_heads: int
    num_kv_heads: int
    head_dim: int
    causal: bool
    sliding_window: int = 0
    scale: float | None = None
    use_bias: bool = True
    key_bias: bool = True
    implementation: Implementation = "auto"
    kernel_init: Initializer = nn.initializers.normal(0.02)
    out_init: Initializer = nn.initializers.normal(0.02)
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "batch length features"],
        context: Float[Array, "batch keys context_features"] | None = None,
        *,
        rotary: tuple[Float[Array, "batch length half"], Float[Array, "batch length half"]] | None = None,
        segment_ids: Int[Array, "batch length"] | None = None,
        context_segment_ids: Int[Array, "batch keys"] | None = None,
        bias: Float[Array, "#batch #heads length keys"] | None = None,
        mask: Bool[Array, "#batch #heads length keys"] | None = None,
        cache: KVCache | None = None,
        layer: int | Int[Array, ""] = 0,
    ) -> tuple[Float[Array, "batch length features"], KVCache | None]:
        """Returns the output and the cache with this layer's new keys and values written at `cache.index`.

        Args:
            context: what keys and values are made from; `x` by default.
            rotary: cosines and sines of `rotary_angles` for the positions of x.
            segment_ids: queries see keys of their own segment; with a cache, its own padding is what segments mean.
            context_segment_ids: segments of the keys; those of x by default.
            layer: which layer of the cache this is.
        """
        source = x if context is None else context

        def project(name: str, inputs: Array, heads: int, axis: str) -> Array:
            projection = Projection(
                (heads, self.head_dim),
                ("embed", axis, "head_dim"),
                use_bias=self.use_bias and (self.key_bias or name != "key"),
                kernel_init=self.kernel_init,
                dtype=self.dtype,
                name=name,
            )
            names = ("activation_batch", "activation_length", f"activation_{axis}", "activation_head_dim")
            return constrain(projection(inputs), *names)

        query = project("query", x, self.num_heads, "heads")
        key = project("key", source, self.num_kv_heads, "kv_heads")
        value = project("value", source, self.num_kv_heads, "kv_heads")
        if rotary is not None:
            query, key = rotate(query, rotary), rotate(key, rotary)
        offset: int | Array = 0
        key_segment_ids = segment_ids if context_segment_ids is None else context_segment_ids
        if cache is not None:
            offset = cache.index
            segment_ids, key_segment_ids = cache.segment_ids(x.shape[1])
            cache, key, value = write(cache, layer, key, value)
        out = attention(
            query,
            key,
            value,
            causal=self.causal,
            sliding_window=self.sliding_window,
            query_segment_ids=segment_ids,
            key_segment_ids=key_segment_ids,
            bias=bias,
            mask=mask,
            query_offset=offset,
            cached=cache is not None,
            scale=self.scale,
            implementation=self.implementation,
        )
        out = constrain(out, "activation_batch", "activation_length", "activation_heads", "activation_head_dim")
        out = checkpoint_name(out, "attention_out")
        projection = Projection(
            (x.shape[-1],),
            ("heads", "head_dim", "embed"),
            input_axes=2,
            use_bias=self.use_bias,
            kernel_init=self.out_init,
            dtype=self.dtype,
            name="out",
        )
        return projection(out), cache
