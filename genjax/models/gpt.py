"""GPT: a decoder-only transformer, in the dress of GPT-2 or of Llama (Radford et al., 2019; Touvron et al., 2023)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int

from genjax.errors import ConfigError
from genjax.layers.attention import Implementation
from genjax.layers.cache import KVCache
from genjax.layers.embedding import Embedding
from genjax.layers.linear import Projection
from genjax.layers.mlp import Activation
from genjax.layers.position import RopeScaling, rotary_angles, sinusoidal
from genjax.models.checks import check_sizes
from genjax.models.transformer import (
    BeforeBlock,
    BlockConfig,
    BlockInputs,
    Norm,
    NormPosition,
    Remat,
    StackConfig,
    make_blocks,
    make_norm,
    run_blocks,
)
from genjax.parallel.rules import constrain

Position = Literal["learned", "sinusoidal", "rotary", "none"]


@dataclass(frozen=True)
class GPTConfig(StackConfig):
    """The hyper-parameters of a GPT. The defaults are GPT-2's smallest.

    Attributes:
        vocab_size: rows of the token table.
        context_length: the longest sequence, in tokens; learned positions have as many rows.
        num_layers, num_heads, embed_dim: depth, query heads, width of the residual stream.
        num_kv_heads: key and value heads; 0 for num_heads.
        head_dim: width of a head; 0 for embed_dim / num_heads.
        mlp_dim: width of the MLP's hidden layer; 0 for 4 * embed_dim.
        position: how a token knows where it stands.
        rope_theta, rope_scaling: rotary positions' base, and Llama-3's stretching.
        norm, norm_epsilon, norm_position: see `BlockConfig`.
        final_norm: whether the last block is followed by a norm (GPT-1, which is post-norm, has none).
        activation, gated: the MLP's; Llama is "silu" and gated.
        use_bias: biases on projections and in LayerNorm.
        tie_embeddings: whether the token table is also the output head.
        sliding_window: how many tokens a token sees at most, itself included; 0 for all.
        dropout: share dropped, while training, of the embeddings and of each sublayer's output (not of attention weights).
        scan_layers: compile one block and loop over it.
        remat: what the backward pass keeps, see `REMAT_POLICIES`.
        dtype: the computation's dtype; parameters, norms, softmax and logits are float32.
        attention: the attention kernel, see `choose_implementation`.
        init_std: standard deviation of kernels and tables; kernels that write into the residual stream get
            init_std / sqrt(2 * num_layers) (Radford et al., 2019, section 2.3).
    """

    vocab_size: int = 50257
    context_length: int = 1024
    num_layers: int = 12
    num_heads: int = 12
    embed_dim: int = 768
    num_kv_heads: int = 0
    head_dim: int = 0
    mlp_dim: int = 0
    position: Position = "learned"
    rope_theta: float = 10000.0
    rope_scaling: RopeScaling | None = None
    norm: Norm = "layernorm"
    norm_epsilon: float = 1e-5
    norm_position: NormPosition = "pre"
    final_norm: bool = True
    activation: Activation = "gelu_tanh"
    gated: bool = False
    use_bias: bool = True
    tie_embeddings: bool = True
    sliding_window: int = 0
    dropout: float = 0.0
    scan_layers: bool = False
    remat: Remat = "none"
    dtype: Literal["float32", "bfloat16"] = "float32"
    attention: Implementation = "auto"
    init_std: float = 0.02

    def __post_init__(self):
        check_sizes(
            self,
            ("vocab_size", "context_length", "num_layers", "num_heads", "embed_dim"),
            ("num_kv_heads", "head_dim", "mlp_dim", "sliding_window"),
        )
        if self.num_heads % self.kv_heads:
            raise ConfigError(
                f"model.num_heads {self.num_heads} is not a multiple of num_kv_heads {self.kv_heads}: "
                "each key head serves the same number of query heads."
            )
        if self.position == "rotary" and self.head_width % 2:
            raise ConfigError(f"model.position 'rotary' turns pairs of features: head_dim {self.head_width} must be even.")
        if self.rope_scaling is not None and self.position != "rotary":
            raise ConfigError(f"model.rope_scaling needs position 'rotary', but position is {self.position!r}.")

    def block(self) -> BlockConfig:
        """The hyper-parameters of each block."""
        return self._block(causal=True, residual_std=self.init_std / (2 * self.num_layers) ** 0.5)


class GPT(nn.Module):
    """Tokens to logits over the next token."""

    config: GPTConfig

    def setup(self):
        c = self.config
        init, dtype = nn.initializers.normal(c.init_std), jnp.dtype(c.dtype)
        self.token_embed = Embedding(c.vocab_size, c.embed_dim, embedding_init=init, dtype=dtype)
        if c.position == "learned":
            self.position_embed = Embedding(c.context_length, c.embed_dim, "position", embedding_init=init, dtype=dtype)
        self.embed_dropout = nn.Dropout(c.dropout)
        self.blocks = make_blocks(c.block(), c.num_layers, c.scan_layers, c.remat)
        if c.final_norm:
            self.final_norm = make_norm(c.norm, c.norm_epsilon, c.use_bias, c.dtype)
        if not c.tie_embeddings:
            self.head = Projection(
                (c.vocab_size,), ("embed", "vocab"), use_bias=False, kernel_init=init, dtype=dtype, out_dtype=jnp.float32
            )

    def __call__(
        self,
        tokens: Int[Array, "batch length"],
        *,
        positions: Int[Array, "batch length"] | None = None,
        segment_ids: Int[Array, "batch length"] | None = None,
        cache: KVCache | None = None,
        deterministic: bool = True,
    ) -> Float[Array, "batch length vocab"] | tuple[Float[Array, "batch length vocab"], KVCache]:
        """Float32 logits, and the advanced cache when one is given. Arguments as in `hidden`."""
        hidden, cache = self.hidden(
            tokens, positions=positions, segment_ids=segment_ids, cache=cache, deterministic=deterministic
        )
        logits = self.logits(hidden)
        return logits if cache is None else (logits, cache)

    def hidden(
        self,
        tokens: Int[Array, "batch length"],
        *,
        positions: Int[Array, "batch length"] | None = None,
        segment_ids: Int[Array, "batch length"] | None = None,
        cache: KVCache | None = None,
        deterministic: bool = True,
        vectors: Float[Array, "batch length features"] | None = None,
        before_block: BeforeBlock | None = None,
        masks: Bool[Array, "patterns #batch 1 length keys"] | None = None,
        pattern: tuple[int, ...] = (),
    ) -> tuple[Float[Array, "batch length features"], KVCache | None]:
        """What `logits` reads, for every token, and the advanced cache (None without one).

        Args:
            positions: positions of the tokens; by default 0, 1, ..., or those that the cache says.
            segment_ids: documents packed into a row, 0 for padding; a token sees only its own. Not used with a cache.
            cache: keys and values of the tokens before; these tokens are written to it.
            deterministic: False to drop (needs a "dropout" key).
            vectors: what `embed` gives of the tokens, or what is to stand in their places.
            before_block: see `run_blocks`.
            masks, pattern: what tokens may see beside what comes before them, see `BlockInputs`.

        Raises:
            ConfigError: more tokens than learned positions, or `before_block` where layers are scanned.
        """
        c = self.config
        length = tokens.shape[1]
        if length > c.context_length:
            raise ConfigError(
                f"{length} tokens are more than the model's context_length {c.context_length}; shorten the sequence or train "
                "with a longer context."
            )
        if positions is None:
            positions = cache.positions(length) if cache is not None else jnp.arange(length, dtype=jnp.int32)[None, :]
        names = ("activation_batch", "activation_length")
        x = self.embed(tokens) if vectors is None else vectors
        if c.position == "learned":
            x = x + self.position_embed(positions)
        elif c.position == "sinusoidal":
            x = x + sinusoidal(positions, c.embed_dim).astype(x.dtype)
        if c.dropout:
            x = self.embed_dropout(x, deterministic=deterministic)
        x = constrain(x, *names, "activation_embed")
        rotary = None
        if c.position == "rotary":
            rotary = rotary_angles(positions, c.head_width, c.rope_theta, c.rope_scaling)
        if segment_ids is not None:
            segment_ids = constrain(segment_ids, *names)
        which = None if masks is None else jnp.asarray(pattern, jnp.int32)
        inputs = BlockInputs(rotary=rotary, segment_ids=segment_ids, masks=masks, pattern=which)
        x, cache = run_blocks(self.blocks, c.num_layers, x, inputs, cache, deterministic, before_block)
        return self.final_norm(x) if c.final_norm else x, cache

    def embed(self, tokens: Int[Array, "batch length"]) -> Float[Array, "batch length features"]:
        """The tokens' own vectors, without their positions."""
        names = ("activation_batch", "activation_length")
        return constrain(self.token_embed(constrain(tokens, *names)), *names, "activation_embed")

    def logits(self, hidden: Float[Array, "batch length features"], ids: slice = slice(None)) -> Float[Array, "batch length ids"]:
        """Float32 logits of hidden states over some ids, by default over all."""
        logits = self.token_embed.attend(hidden, ids) if self.config.tie_embeddings else self.head(hidden, ids)
        return constrain(logits, "activation_batch", "activation_length", "activation_vocab")


def transposed_copies(params: Mapping[str, Any]) -> dict[str, Any]:
    """The collection `TRANSPOSED` for the parameters of unrolled blocks: second copies of their kernels and of a tied table, for
    decoding on one CPU device. They take as much memory as the parameters.

    Apply the model to `{"params": params, TRANSPOSED: transposed_copies(params)}`.
    """

    def turn(projections: Mapping[str, Any]) -> dict[str, Any]:
        axes = {name: 2 if name == "out" else 1 for name in projections}  # `out` contracts heads and head_dim
        return {
            name: {"kernel": jnp.moveaxis(p["kernel"], range(axes[name]), range(-axes[name], 0))}
            for name, p in projections.items()
        }

    copies: dict[str, Any] = {
        name: {"attention": turn(block["attention"]), "mlp": turn(block["mlp"])}
        for name, block in params.items()
        if name.startswith("blocks_")
    }
    if "head" in params:
        return copies | turn({"head": params["head"]})
    return copies | {"token_embed": {"embedding": params["token_embed"]["embedding"].T}}


def parameter_count(config: GPTConfig) -> int:
    """How many parameters the model has, counting a tied table once."""
    c = config
    norm = c.embed_dim * (2 if c.norm == "layernorm" and c.use_bias else 1)
    table = c.vocab_size * c.embed_dim
    positions = c.context_length * c.embed_dim if c.position == "learned" else 0
    heads, kv = c.num_heads * c.head_width, c.kv_heads * c.head_width
    biases = heads + 2 * kv + c.embed_dim + c.hidden_width * (2 if c.gated else 1) + c.embed_dim if c.use_bias else 0
    block = _block_kernels(c) + biases + 2 * norm
    return table * (1 if c.tie_embeddings else 2) + positions + c.num_layers * block + (norm if c.final_norm else 0)


def flops_per_token(config: GPTConfig, length: int, causal_half: bool = True) -> float:
    """Floating-point operations of training on one token of a sequence of `length`, forward and backward.

    Six for every kernel parameter that the token meets (the output head included, lookups not), and 12 * head_dim for every
    query head and key it attends, in every layer (Chowdhery et al., 2022, appendix B). A causal mask leaves on average
    half of the keys (`causal_half`, MaxText's convention since July 2025; False counts all, as PaLM and nanoGPT do). Work done
    again by rematerialization is not counted.
    """
    c = config
    keys = length * (0.5 if causal_half else 1.0)
    if c.sliding_window and c.sliding_window < length:
        # Queries before the window is full see i + 1 keys, the others the whole window.
        window = c.sliding_window
        keys = window - window * window / (2 * length) if causal_half else window
    matmul = c.num_layers * _block_kernels(c) + c.vocab_size * c.embed_dim
    return 6.0 * matmul + 12.0 * c.num_layers * c.num_heads * c.head_width * keys


def _block_kernels(c: GPTConfig) -> int:
    heads, kv = c.num_heads * c.head_width, c.kv_heads * c.head_width
    return c.embed_dim * (2 * heads + 2 * kv) + c.embed_dim * c.hidden_width * (3 if c.gated else 2)
