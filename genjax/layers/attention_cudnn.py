"""cuDNN's flash attention."""

import jax
from jaxtyping import Array, Float

from genjax.layers.attention_mask import Masking


def cudnn_attention(
    query: Float[Array, "batch length heads head_dim"],
    key: Float[Array, "batch keys kv_heads head_dim"],
    value: Float[Array, "batch keys kv_heads head_dim"],
    masking: Masking,
    bias: Float[Array, "#batch #heads length keys"] | None = None,
) -> Float[Array, "batch length heads head_dim"]:
    """Attention of an already scaled query. The kernel knows causal and sliding masks; segments are given to it as a dense mask,
    shared by all heads."""
    segments = Masking(False, 0, masking.query_segment_ids, masking.key_segment_ids, masking.mask, 0)
    mask = segments.dense(slice(0, query.shape[1]), slice(0, key.shape[1]))
    return jax.nn.dot_product_attention(
        query,
        key.astype(query.dtype),
        value.astype(query.dtype),
        bias=None if bias is None else bias.astype(query.dtype),
        mask=mask,
        scale=1.0,
        is_causal=masking.causal,
        local_window_size=(masking.sliding_window - 1, 0) if masking.sliding_window else None,
        implementation="cudnn",
    )
