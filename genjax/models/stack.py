"""A stack of blocks with what belongs to all of it: the shared relative bias, the last norm, the cache of a decoder."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.core import meta
from jaxtyping import Array, Float, Int

from genjax.layers.cache import KVCache, init_cache, with_context
from genjax.layers.relative_bias import RelativeBias
from genjax.models.transformer import BlockConfig, BlockInputs, Remat, make_attention, make_blocks, make_norm, run_blocks


class Stack(nn.Module):
    """An encoder, or a decoder where the block's config is causal and has cross-attention.

    Attributes:
        block: hyper-parameters of every block.
        num_layers: how many.
        final_norm: whether the last block is followed by a norm.
        relative: buckets and largest distance of T5's relative bias, one table for all layers; None for none.
        scan_layers, remat: see `make_blocks`.
    """

    block: BlockConfig
    num_layers: int
    final_norm: bool = True
    relative: tuple[int, int] | None = None
    scan_layers: bool = False
    remat: Remat = "none"

    def setup(self):
        c = self.block
        self.blocks = make_blocks(c, self.num_layers, self.scan_layers, self.remat)
        if self.relative is not None:
            init = nn.initializers.normal(c.init_std)
            self.relative_bias = RelativeBias(c.num_heads, *self.relative, bidirectional=not c.causal, embedding_init=init)
        if self.final_norm:
            self.norm = make_norm(c.norm, c.norm_epsilon, c.use_bias, c.dtype)

    def __call__(
        self,
        x: Float[Array, "batch length features"],
        inputs: BlockInputs,
        cache: KVCache | None = None,
        deterministic: bool = True,
    ) -> tuple[Float[Array, "batch length features"], KVCache | None]:
        """The residual stream after the last block and norm, and the advanced cache."""
        if self.relative is not None:
            tokens = jnp.arange(x.shape[1], dtype=jnp.int32)
            queries, keys = (tokens, tokens) if cache is None else (cache.index + tokens, jnp.arange(cache.slots))
            inputs = inputs.replace(bias=self.relative_bias(queries, keys))
        x, cache = run_blocks(self.blocks, self.num_layers, x, inputs, cache, deterministic)
        return self.norm(x) if self.final_norm else x, cache

    def start_cache(
        self,
        context: Float[Array, "contexts context_length features"],
        segment_ids: Int[Array, "contexts context_length"] | None,
        slots: int,
    ) -> KVCache:
        """A cache of `slots` tokens for a row of each context, in which every layer's keys and values of the context are known.

        Args:
            segment_ids: 0 where a context is padding.
        """
        c, params = self.block, meta.unbox(self.variables["params"])
        shape = (self.num_layers, context.shape[0], slots, c.num_kv_heads, c.head_dim)
        cache = init_cache(*shape, jnp.dtype(c.dtype), stacked=self.scan_layers)
        attention = make_attention(c, cross=True, detached=True)

        def keys_values(block):
            return attention.apply({"params": block["cross_attention"]}, context, method="keys_values")

        if self.scan_layers:
            return with_context(cache, jax.vmap(keys_values)(params["blocks"]), segment_ids)
        return with_context(cache, [keys_values(params[f"blocks_{i}"]) for i in range(self.num_layers)], segment_ids)
