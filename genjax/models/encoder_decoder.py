"""Encoder-decoders over tokens: T5 (Raffel et al., 2020) and the original Transformer (Vaswani et al., 2017)."""

from dataclasses import dataclass
from typing import Literal

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int

from genjax.errors import ConfigError
from genjax.layers.attention import Implementation
from genjax.layers.cache import KVCache
from genjax.layers.embedding import Embedding
from genjax.layers.linear import Projection
from genjax.layers.mlp import Activation
from genjax.layers.position import sinusoidal
from genjax.models.checks import check_sizes
from genjax.models.stack import Stack
from genjax.models.transformer import BlockConfig, BlockInputs, Norm, NormPosition, Remat, StackConfig
from genjax.parallel.rules import constrain


@dataclass(frozen=True)
class EncoderDecoderConfig(StackConfig):
    """The hyper-parameters of an encoder-decoder. The defaults are T5's smallest, version 1.0.

    Attributes:
        vocab_size: rows of the one token table of encoder and decoder.
        num_layers: the encoder's depth.
        num_decoder_layers: the decoder's; 0 for the same.
        num_heads, embed_dim: heads, width of the residual stream.
        head_dim: width of a head; 0 for embed_dim / num_heads.
        mlp_dim: width of the MLP's hidden layer; 0 for 4 * embed_dim.
        position: "relative" (a bias on attention, the same in all layers of a stack) or "sinusoidal" (added to embeddings).
        relative_buckets, relative_distance: how many distances are told apart, and where they end.
        norm, norm_epsilon, norm_position: see `BlockConfig`. A pre-norm stack ends in one more norm, a post-norm one does not.
        activation, gated: the MLP's; T5 1.1 is "gelu_tanh" and gated.
        use_bias: biases on projections and in LayerNorm.
        scale_attention: whether inner products are divided by sqrt(head_dim).
        scale_embeddings: whether embeddings are multiplied by sqrt(embed_dim).
        tie_embeddings: whether the token table is also the output head.
        scale_logits: whether what the head reads is divided by sqrt(embed_dim).
        start_id: the token before the first of a target.
        dropout: share dropped, while training, of embeddings, of each sublayer's output and after the last norm.
        scan_layers, remat, dtype, attention: as in `GPTConfig`.
        init_factor: multiplies the standard deviations of kernels and tables. These are fan_in ** -0.5, for queries without
            `scale_attention` also times head_dim ** -0.5, as in T5; kernels that write into the residual stream mlp_dim ** -0.5.
    """

    vocab_size: int = 32128
    num_layers: int = 6
    num_decoder_layers: int = 0
    num_heads: int = 8
    embed_dim: int = 512
    head_dim: int = 0
    mlp_dim: int = 0
    position: Literal["relative", "sinusoidal"] = "relative"
    relative_buckets: int = 32
    relative_distance: int = 128
    norm: Norm = "rmsnorm"
    norm_epsilon: float = 1e-6
    norm_position: NormPosition = "pre"
    activation: Activation = "relu"
    gated: bool = False
    use_bias: bool = False
    scale_attention: bool = False
    scale_embeddings: bool = False
    tie_embeddings: bool = True
    scale_logits: bool = True
    start_id: int = 0
    dropout: float = 0.1
    scan_layers: bool = False
    remat: Remat = "none"
    dtype: Literal["float32", "bfloat16"] = "float32"
    attention: Implementation = "auto"
    init_factor: float = 1.0

    def __post_init__(self):
        check_sizes(self, ("vocab_size", "num_layers", "num_heads", "embed_dim"), ("num_decoder_layers", "head_dim", "mlp_dim"))
        if self.relative_buckets < 4 or self.relative_buckets % 2 or self.relative_distance <= self.relative_buckets // 2:
            raise ConfigError(
                f"model.relative_buckets {self.relative_buckets} must be even and 4 or more, and model.relative_distance "
                f"{self.relative_distance} more than half of it."
            )

    @property
    def decoder_layers(self) -> int:
        """`num_decoder_layers` with its default filled in."""
        return self.num_decoder_layers or self.num_layers

    def block(self, decoder: bool) -> BlockConfig:
        """The hyper-parameters of each block of the encoder or the decoder."""
        init_std = self.init_factor * self.embed_dim**-0.5
        return self._block(
            causal=decoder,
            cross=decoder,
            attention_scale=None if self.scale_attention else 1.0,
            query_std=None if self.scale_attention else init_std * self.head_width**-0.5,
            init_std=init_std,
            residual_std=self.init_factor * self.hidden_width**-0.5,
        )


class EncoderDecoder(nn.Module):
    """A source and the tokens of a target so far to logits over the target's next token."""

    config: EncoderDecoderConfig

    def setup(self):
        c = self.config
        relative = (c.relative_buckets, c.relative_distance) if c.position == "relative" else None
        shared = {"final_norm": c.norm_position == "pre", "relative": relative, "scan_layers": c.scan_layers, "remat": c.remat}
        # A table that is divided by sqrt(embed_dim) on the way out, or not multiplied by it on the way in, begins with ones.
        table_std = c.init_factor * (c.embed_dim**-0.5 if c.scale_embeddings else 1.0)
        init, dtype = nn.initializers.normal(table_std), jnp.dtype(c.dtype)
        self.token_embed = Embedding(c.vocab_size, c.embed_dim, embedding_init=init, dtype=dtype)
        self.dropout = nn.Dropout(c.dropout)
        self.encoder = Stack(c.block(decoder=False), c.num_layers, **shared)
        self.decoder = Stack(c.block(decoder=True), c.decoder_layers, **shared)
        if not c.tie_embeddings:
            init = nn.initializers.normal(c.init_factor * c.embed_dim**-0.5)
            self.head = Projection(
                (c.vocab_size,), ("embed", "vocab"), use_bias=False, kernel_init=init, dtype=dtype, out_dtype=jnp.float32
            )

    def __call__(
        self,
        inputs: Int[Array, "batch input_length"],
        targets: Int[Array, "batch length"],
        *,
        input_segment_ids: Int[Array, "batch input_length"] | None = None,
        target_segment_ids: Int[Array, "batch length"] | None = None,
        input_positions: Int[Array, "batch input_length"] | None = None,
        target_positions: Int[Array, "batch length"] | None = None,
        deterministic: bool = True,
    ) -> Float[Array, "batch length vocab"]:
        """Float32 logits of the token after each of `targets`, which begin with `start_id`.

        Args:
            input_segment_ids, target_segment_ids: 1 for tokens and 0 for padding, or numbers of pairs packed into a row: a target
                sees its own source only. The targets' alone may be left out where they hold one pair each.
            input_positions, target_positions: by default 0, 1, ...; relative positions need none.
            deterministic: False to drop (needs a "dropout" key).
        """
        context = self.encode(inputs, segment_ids=input_segment_ids, positions=input_positions, deterministic=deterministic)
        hidden, _ = self.decode(
            targets,
            context,
            segment_ids=target_segment_ids,
            context_segment_ids=input_segment_ids,
            positions=target_positions,
            deterministic=deterministic,
        )
        return self.logits(hidden)

    def encode(
        self,
        inputs: Int[Array, "batch input_length"],
        *,
        segment_ids: Int[Array, "batch input_length"] | None = None,
        positions: Int[Array, "batch input_length"] | None = None,
        deterministic: bool = True,
    ) -> Float[Array, "batch input_length features"]:
        """What the decoder attends to."""
        x = self._embed(inputs, positions, deterministic)
        x, _ = self.encoder(x, BlockInputs(segment_ids=segment_ids), deterministic=deterministic)
        return self._final_dropout(x, deterministic)

    def decode(
        self,
        tokens: Int[Array, "batch length"],
        context: Float[Array, "batch context_length features"] | None = None,
        *,
        segment_ids: Int[Array, "batch length"] | None = None,
        context_segment_ids: Int[Array, "batch context_length"] | None = None,
        positions: Int[Array, "batch length"] | None = None,
        cache: KVCache | None = None,
        deterministic: bool = True,
    ) -> tuple[Float[Array, "batch length features"], KVCache | None]:
        """What `logits` reads, for every token, and the advanced cache (None without one).

        Args:
            context: what `encode` gives; not needed with a cache of `start_cache`, which knows it.
        """
        if positions is None and cache is not None:
            positions = cache.positions(tokens.shape[1])
        inputs = BlockInputs(segment_ids=segment_ids, context=context, context_segment_ids=context_segment_ids)
        x, cache = self.decoder(self._embed(tokens, positions, deterministic), inputs, cache, deterministic)
        return self._final_dropout(x, deterministic), cache

    def start_cache(
        self,
        context: Float[Array, "contexts context_length features"],
        segment_ids: Int[Array, "contexts context_length"] | None,
        slots: int,
    ) -> KVCache:
        """A cache for `decode` that holds the cross-attention keys and values of what `encode` gave; see `Stack.start_cache`."""
        return self.decoder.start_cache(context, segment_ids, slots)

    def logits(self, hidden: Float[Array, "batch length features"], ids: slice = slice(None)) -> Float[Array, "batch length ids"]:
        """Float32 logits of hidden states over some ids, by default over all."""
        c = self.config
        if c.scale_logits:
            hidden = hidden * c.embed_dim**-0.5
        logits = self.token_embed.attend(hidden, ids) if c.tie_embeddings else self.head(hidden, ids)
        return constrain(logits, "activation_batch", "activation_length", "activation_vocab")

    def _embed(self, tokens: Array, positions: Array | None, deterministic: bool) -> Array:
        c, names = self.config, ("activation_batch", "activation_length")
        x = constrain(self.token_embed(constrain(tokens, *names)), *names, "activation_embed")
        if c.scale_embeddings:
            x = x * c.embed_dim**0.5
        if c.position == "sinusoidal":
            positions = jnp.arange(tokens.shape[1], dtype=jnp.int32)[None, :] if positions is None else positions
            x = x + sinusoidal(positions, c.embed_dim).astype(x.dtype)
        return self.dropout(x, deterministic=deterministic) if c.dropout else x

    def _final_dropout(self, x: Array, deterministic: bool) -> Array:
        c = self.config
        return self.dropout(x, deterministic=deterministic) if c.dropout and c.norm_position == "pre" else x


def flops_per_pair(config: EncoderDecoderConfig, input_length: int, target_length: int) -> float:
    """Floating-point operations of training on one pair, forward and backward.

    Six for every kernel parameter and every token that meets it (the output head included, lookups not), 12 * head_dim for every
    head and every key that a query attends, of which the decoder's causal mask leaves half. Padding counts.
    """
    c = config
    heads = c.num_heads * c.head_width
    projection, mlp = c.embed_dim * heads, c.embed_dim * c.hidden_width * (3 if c.gated else 2)
    encoder = c.num_layers * input_length * (4 * projection + mlp)
    # A decoder block projects targets six times, its context twice.
    decoder = c.decoder_layers * (target_length * (6 * projection + mlp) + input_length * 2 * projection)
    head = target_length * c.vocab_size * c.embed_dim
    keys = c.num_layers * input_length**2 + c.decoder_layers * target_length * (target_length / 2 + input_length)
    return 6.0 * (encoder + decoder + head) + 12.0 * heads * keys
