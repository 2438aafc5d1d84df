"""BERT: a bidirectional transformer over words (Devlin et al., 2019): masked words, pairs of texts, embeddings of texts."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int

from genjax.config import choose
from genjax.errors import ConfigError
from genjax.layers.attention import Implementation
from genjax.layers.embedding import Embedding
from genjax.layers.linear import Projection
from genjax.layers.mlp import ACTIVATIONS, Activation
from genjax.layers.norm import LayerNorm
from genjax.models.checks import check_sizes
from genjax.models.transformer import BlockConfig, BlockInputs, Remat, StackConfig, make_blocks, run_blocks
from genjax.parallel.rules import constrain

Pooling = Literal["mean", "cls"]


@dataclass(frozen=True)
class BertConfig(StackConfig):
    """The hyper-parameters of a BERT. The defaults are BERT-base, uncased, with the head for masked words.

    Attributes:
        vocab_size: rows of the token table.
        context_length: the longest sequence, in tokens, and rows of the position table.
        token_types: rows of the table that tells the first text of a pair from the second.
        num_layers, num_heads, embed_dim: depth, heads, width of the residual stream.
        mlp_dim: width of the MLP's hidden layer; 0 for 4 * embed_dim.
        activation: the MLP's, and that of the head for masked words.
        norm_epsilon: what norms add to the variance.
        masked_lm: whether there is a head that says a token's word. Its kernel is the token table.
        pooler: whether the first token's vector goes through a dense layer and tanh.
        next_sentence: whether there is a head that says from it if the second text follows the first.
        dropout: share dropped, while training, of the embeddings and of each sublayer's output (not of attention weights).
        scan_layers, remat, dtype, attention: see `GPTConfig`.
        init_std: standard deviation of kernels and tables.
    """

    vocab_size: int = 30522
    context_length: int = 512
    token_types: int = 2
    num_layers: int = 12
    num_heads: int = 12
    embed_dim: int = 768
    mlp_dim: int = 0
    activation: Activation = "gelu"
    norm_epsilon: float = 1e-12
    masked_lm: bool = True
    pooler: bool = False
    next_sentence: bool = False
    dropout: float = 0.1
    scan_layers: bool = False
    remat: Remat = "none"
    dtype: Literal["float32", "bfloat16"] = "float32"
    attention: Implementation = "auto"
    init_std: float = 0.02

    def __post_init__(self):
        check_sizes(self, ("vocab_size", "context_length", "token_types", "num_layers", "num_heads", "embed_dim"), ("mlp_dim",))
        if self.next_sentence and not self.pooler:
            raise ConfigError("model.next_sentence reads what the pooler writes; set model.pooler too.")

    def block(self) -> BlockConfig:
        """The hyper-parameters of each block."""
        return self._block(causal=False, norm_position="post", residual_std=self.init_std)


class BertOutput(NamedTuple):
    """What a BERT says of a batch; None where it has no such head.

    Attributes:
        hidden: the last block's vectors.
        pooled: the pooler's vector of each row's first token, in [-1, 1].
        token_logits: float32, over the word that stood in each place.
        next_sentence_logits: float32, over "follows" (0) and "is from elsewhere" (1).
    """

    hidden: Float[Array, "batch length features"]
    pooled: Float[Array, "batch features"] | None
    token_logits: Float[Array, "batch length vocab"] | None
    next_sentence_logits: Float[Array, "batch 2"] | None


class Bert(nn.Module):
    """Tokens to vectors in context, and what the heads make of them."""

    config: BertConfig

    def setup(self):
        c = self.config
        init, dtype = nn.initializers.normal(c.init_std), jnp.dtype(c.dtype)

        def dense(features: int, kernel_axes: tuple[str | None, str | None], out_dtype: jnp.dtype = dtype) -> Projection:
            return Projection((features,), kernel_axes, kernel_init=init, dtype=dtype, out_dtype=out_dtype)

        self.token_embed = Embedding(c.vocab_size, c.embed_dim, embedding_init=init, dtype=dtype)
        self.position_embed = Embedding(c.context_length, c.embed_dim, "position", embedding_init=init, dtype=dtype)
        # Two rows: never split, as positions are not.
        self.token_type_embed = Embedding(c.token_types, c.embed_dim, "position", embedding_init=init, dtype=dtype)
        self.embed_norm = LayerNorm(c.norm_epsilon, dtype=dtype)
        self.embed_dropout = nn.Dropout(c.dropout)
        self.blocks = make_blocks(c.block(), c.num_layers, c.scan_layers, c.remat)
        if c.masked_lm:
            self.transform = dense(c.embed_dim, ("embed", "embed"))
            self.transform_norm = LayerNorm(c.norm_epsilon, dtype=dtype)
            bias = nn.with_logical_partitioning(nn.initializers.zeros, ("vocab",))
            self.token_bias = self.param("token_bias", bias, (c.vocab_size,), jnp.float32)
        if c.pooler:
            self.pooler = dense(c.embed_dim, ("embed", "embed"))
        if c.next_sentence:
            self.next_sentence = dense(2, ("embed", None), jnp.float32)

    def __call__(
        self,
        tokens: Int[Array, "batch length"],
        *,
        token_types: Int[Array, "batch length"] | None = None,
        positions: Int[Array, "batch length"] | None = None,
        segment_ids: Int[Array, "batch length"] | None = None,
        deterministic: bool = True,
    ) -> BertOutput:
        """Everything that the model can say. Arguments as in `hidden`."""
        c = self.config
        hidden = self.hidden(
            tokens, token_types=token_types, positions=positions, segment_ids=segment_ids, deterministic=deterministic
        )
        pooled = jnp.tanh(self.pooler(hidden[:, 0])) if c.pooler else None
        return BertOutput(
            hidden,
            pooled,
            self.token_logits(hidden) if c.masked_lm else None,
            self.next_sentence(pooled) if c.next_sentence else None,
        )

    def hidden(
        self,
        tokens: Int[Array, "batch length"],
        *,
        token_types: Int[Array, "batch length"] | None = None,
        positions: Int[Array, "batch length"] | None = None,
        segment_ids: Int[Array, "batch length"] | None = None,
        deterministic: bool = True,
    ) -> Float[Array, "batch length features"]:
        """The vector of every token in its context.

        Args:
            token_types: 0 for tokens of the first text (the default), 1 for those of the second.
            positions: positions of the tokens; by default 0, 1, ...
            segment_ids: texts packed into a row, 0 for padding; a token sees only its own. None: no padding.
            deterministic: False to drop (needs a "dropout" key).

        Raises:
            ConfigError: more tokens than positions.
        """
        c = self.config
        length = tokens.shape[1]
        if length > c.context_length:
            raise ConfigError(
                f"{length} tokens are more than the model's context_length {c.context_length}; shorten the text or train with a "
                "longer context."
            )
        names = ("activation_batch", "activation_length")
        positions = jnp.arange(length, dtype=jnp.int32)[None, :] if positions is None else positions
        x = constrain(self.token_embed(constrain(tokens, *names)), *names, "activation_embed")
        x = x + self.token_type_embed(jnp.zeros_like(tokens) if token_types is None else token_types)
        x = self.embed_norm(x + self.position_embed(positions))
        if c.dropout:
            x = self.embed_dropout(x, deterministic=deterministic)
        segment_ids = None if segment_ids is None else constrain(segment_ids, *names)
        x = constrain(x, *names, "activation_embed")
        return run_blocks(self.blocks, c.num_layers, x, BlockInputs(segment_ids=segment_ids), deterministic=deterministic)[0]

    def token_logits(self, hidden: Float[Array, "*lead features"]) -> Float[Array, "*lead vocab"]:
        """Float32 logits over words, of all of `hidden` or of the masked places alone."""
        act = ACTIVATIONS[self.config.activation]
        return self.token_embed.attend(self.transform_norm(act(self.transform(hidden)))) + self.token_bias

    def embed(
        self,
        tokens: Int[Array, "batch length"],
        *,
        segment_ids: Int[Array, "batch length"] | None = None,
        pooling: Pooling = "mean",
        normalize: bool = True,
        deterministic: bool = True,
    ) -> Float[Array, "batch features"]:
        """One float32 vector for each row (Reimers and Gurevych, 2019).

        Args:
            tokens: one text in each row, with its [CLS] and [SEP].
            segment_ids: 0 for padding, as in `hidden`; None: no padding.
            pooling: "mean" over a row's tokens, or "cls": the vector of its first.
            normalize: to length 1, so that inner products are cosines.

        Raises:
            ConfigError: another `pooling`, or more tokens than positions.
        """
        hidden = self.hidden(tokens, segment_ids=segment_ids, deterministic=deterministic)
        return pool_tokens(hidden, segment_ids, pooling, normalize)


def pool_tokens(
    hidden: Float[Array, "batch length features"],
    segment_ids: Int[Array, "batch length"] | None,
    pooling: Pooling = "mean",
    normalize: bool = True,
) -> Float[Array, "batch features"]:
    """One float32 vector for each row from those of its tokens; arguments and errors as for `Bert.embed`."""
    choose("pooling", pooling, {"mean": None, "cls": None})
    hidden = hidden.astype(jnp.float32)
    if pooling == "cls":
        vectors = hidden[:, 0]
    else:
        weights = jnp.ones(hidden.shape[:2], jnp.float32) if segment_ids is None else (segment_ids > 0).astype(jnp.float32)
        total = jnp.einsum("bl,bld->bd", weights, hidden, precision="highest")
        vectors = total / jnp.maximum(weights.sum(1, keepdims=True), 1)
    if not normalize:
        return vectors
    # The floor keeps the gradient finite where a row is all padding.
    return vectors / jnp.sqrt(jnp.maximum(jnp.square(vectors).sum(-1, keepdims=True), 1e-24))


def flops_per_token(config: BertConfig, length: int, predicted: float = 1.0) -> float:
    """Floating-point operations of training on one token of a sequence of `length`, forward and backward.

    Six for every kernel parameter that the token meets and 12 * head_dim for every head and key it attends, in every layer
    (Chowdhery et al., 2022, appendix B). Heads that see one token of a sequence are not counted.

    Args:
        predicted: the share of the tokens whose words the head for masked words predicts.
    """
    c = config
    block = 4 * c.embed_dim**2 + 2 * c.embed_dim * c.hidden_width
    head = predicted * c.embed_dim * (c.embed_dim + c.vocab_size) if c.masked_lm else 0.0
    return 6.0 * (c.num_layers * block + head) + 12.0 * c.num_layers * c.embed_dim * length
