"""Multi-head attention as a module: projections, rotary embedding, cache, output."""

import jax.numpy as jnp
from flax import linen as nn
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Bool, Float, Int

from genjax.layers.attention import Implementation, attention, visible_weights
from genjax.layers.cache import KVCache, write
from genjax.layers.linear import Initializer, Projection
from genjax.layers.position import rotate
from genjax.parallel.rules import constrain

# Where the weights of a call without a cache are left for a person to look at, in the collection "intermediates". Nothing is
# computed unless the caller makes that collection mutable; layers must be unrolled.
WEIGHTS = "attention_weights"


class MultiHeadAttention(nn.Module):
    """Self-attention, or cross-attention when `context` (or what `keys_values` made of it) is given; MHA, GQA or MQA by
    `num_kv_heads`.

    Attributes:
        num_heads, num_kv_heads, head_dim: query heads, key and value heads, width of a head.
        causal, sliding_window, scale: see `genjax.layers.attention.attention`.
        use_bias: biases on all four projections.
        input_bias: whether, then, query, key and value have one (Stable Diffusion's have none).
        key_bias: whether, then, the key's has one (a key's bias changes no softmax; Whisper leaves it out).
        implementation: the attention kernel.
        kernel_init: initializer of query, key and value.
        query_init: that of query, where it has its own (T5, whose inner products are not scaled).
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
    input_bias: bool = True
    key_bias: bool = True
    implementation: Implementation = "auto"
    kernel_init: Initializer = nn.initializers.normal(0.02)
    query_init: Initializer | None = None
    out_init: Initializer = nn.initializers.normal(0.02)
    dtype: jnp.dtype = jnp.float32

    def setup(self):
        def projection(heads: int, axis: str, use_bias: bool, init: Initializer) -> Projection:
            axes = ("embed", axis, "head_dim")
            return Projection((heads, self.head_dim), axes, use_bias=use_bias, kernel_init=init, dtype=self.dtype)

        use_bias = self.use_bias and self.input_bias
        self.query = projection(self.num_heads, "heads", use_bias, self.query_init or self.kernel_init)
        self.key = projection(self.num_kv_heads, "kv_heads", use_bias and self.key_bias, self.kernel_init)
        self.value = projection(self.num_kv_heads, "kv_heads", use_bias, self.kernel_init)

    def keys_values(
        self, context: Float[Array, "batch keys context_features"]
    ) -> tuple[Float[Array, "batch keys kv_heads head_dim"], Float[Array, "batch keys kv_heads head_dim"]]:
        """What cross-attention reads of a context, to be computed once and given to `__call__` many times."""
        return _constrain(self.key(context), "kv_heads"), _constrain(self.value(context), "kv_heads")

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "batch length features"],
        context: Float[Array, "batch keys context_features"] | None = None,
        *,
        keys_values: tuple[Float[Array, "rows kv_heads keys head_dim"], Float[Array, "rows kv_heads keys head_dim"]]
        | None = None,
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
            keys_values: in the place of a context, what the method `keys_values` made of it, as a `KVCache` keeps it: heads
                before keys. A row of it serves several rows of x in turn where x has more.
            rotary: cosines and sines of `rotary_angles` for the positions of x.
            segment_ids: queries see keys of their own segment; with a cache, its own padding is what segments mean.
            context_segment_ids: segments of the keys; those of x by default. With `keys_values`, 0 where a key is padding.
            layer: which layer of the cache this is.
        """
        query = _constrain(self.query(x), "heads")
        if keys_values is not None:
            out = self._attend_cached(query, keys_values, context_segment_ids)
            return self._out(out, x.shape[-1]), cache
        key, value = self.keys_values(x if context is None else context)
        if rotary is not None:
            query, key = rotate(query, rotary), rotate(key, rotary)
        offset: int | Array = 0
        key_segment_ids = segment_ids if context_segment_ids is None else context_segment_ids
        if cache is not None:
            offset = cache.index
            segment_ids, key_segment_ids = cache.segment_ids(x.shape[1])
            cache, key, value = write(cache, layer, key, value)
        options = {
            "causal": self.causal,
            "sliding_window": self.sliding_window,
            "query_segment_ids": segment_ids,
            "key_segment_ids": key_segment_ids,
            "bias": bias,
            "mask": mask,
            "scale": self.scale,
        }
        if cache is None and self.is_mutable_collection("intermediates"):
            self.sow("intermediates", WEIGHTS, visible_weights(query, key, **options))
        out = attention(
            query, key, value, query_offset=offset, cached=cache is not None, implementation=self.implementation, **options
        )
        return self._out(out, x.shape[-1]), cache

    def _attend_cached(self, query: Array, keys_values: tuple[Array, Array], segment_ids: Array | None) -> Array:
        """Cross-attention to keys and values of a `KVCache`. Rows that share a context stand side by side; each context is read
        once, by the queries of all its rows."""
        key, value = keys_values
        rows, length = query.shape[:2]
        together = query.reshape(key.shape[0], -1, *query.shape[2:])
        ids, key_ids = None, None
        if segment_ids is not None:
            ids, key_ids = jnp.ones(together.shape[:2], jnp.int32), (segment_ids > 0).astype(jnp.int32)
        options = {"query_segment_ids": ids, "key_segment_ids": key_ids, "scale": self.scale}
        out = attention(together, key, value, causal=False, cached=True, **options)
        return out.reshape(rows, length, *out.shape[2:])

    def _out(self, out: Float[Array, "batch length heads head_dim"], features: int) -> Float[Array, "batch length features"]:
        out = checkpoint_name(_constrain(out, "heads"), "attention_out")
        projection = Projection(
            (features,),
            ("heads", "head_dim", "embed"),
            input_axes=2,
            use_bias=self.use_bias,
            kernel_init=self.out_init,
            dtype=self.dtype,
            name="out",
        )
        return projection(out)


def _constrain(x: Float[Array, "batch length heads head_dim"], axis: str) -> Float[Array, "batch length heads head_dim"]:
    return constrain(x, "activation_batch", "activation_length", f"activation_{axis}", "activation_head_dim")
