"""DistilBERT: a BERT of half the layers, without token types and pooler (Sanh et al., 2019)."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int

from genjax.errors import ConfigError
from genjax.layers.attention import Implementation
from genjax.layers.embedding import Embedding
from genjax.layers.linear import Projection
from genjax.layers.mlp import ACTIVATIONS, Activation
from genjax.layers.norm import LayerNorm
from genjax.models.checks import check_sizes
from genjax.models.transformer import BlockConfig, BlockInputs, Remat, StackConfig, make_blocks, run_blocks
from genjax.parallel.rules import constrain

NORM_EPSILON = 1e-12  # of every norm


@dataclass(frozen=True)
class DistilBertConfig(StackConfig):
    """The hyper-parameters of a DistilBERT. The defaults are the published one, uncased, with the head for masked words.

    Attributes: as those of `BertConfig`.
    """

    vocab_size: int = 30522
    context_length: int = 512
    num_layers: int = 6
    num_heads: int = 12
    embed_dim: int = 768
    mlp_dim: int = 0
    activation: Activation = "gelu"
    masked_lm: bool = True
    dropout: float = 0.1
    scan_layers: bool = False
    remat: Remat = "none"
    dtype: Literal["float32", "bfloat16"] = "float32"
    attention: Implementation = "auto"
    init_std: float = 0.02

    def __post_init__(self):
        check_sizes(self, ("vocab_size", "context_length", "num_layers", "num_heads", "embed_dim"))

    def block(self) -> BlockConfig:
        """The hyper-parameters of each block."""
        return self._block(causal=False, norm_epsilon=NORM_EPSILON, norm_position="post", residual_std=self.init_std)


class DistilBert(nn.Module):
    """Tokens to vectors in context, and to logits over the words that stood there."""

    config: DistilBertConfig

    def setup(self):
        c = self.config
        init, dtype = nn.initializers.normal(c.init_std), jnp.dtype(c.dtype)
        self.token_embed = Embedding(c.vocab_size, c.embed_dim, embedding_init=init, dtype=dtype)
        self.position_embed = Embedding(c.context_length, c.embed_dim, "position", embedding_init=init, dtype=dtype)
        self.embed_norm = LayerNorm(NORM_EPSILON, dtype=dtype)
        self.embed_dropout = nn.Dropout(c.dropout)
        self.blocks = make_blocks(c.block(), c.num_layers, c.scan_layers, c.remat)
        if c.masked_lm:
            self.transform = Projection((c.embed_dim,), ("embed", "embed"), kernel_init=init, dtype=dtype)
            self.transform_norm = LayerNorm(NORM_EPSILON, dtype=dtype)
            bias = nn.with_logical_partitioning(nn.initializers.zeros, ("vocab",))
            self.token_bias = self.param("token_bias", bias, (c.vocab_size,), jnp.float32)

    def __call__(
        self, tokens: Int[Array, "batch length"], *, segment_ids: Int[Array, "batch length"] | None = None
    ) -> Float[Array, "batch length width"]:
        """Float32 logits over words, or without that head the vectors."""
        hidden = self.hidden(tokens, segment_ids=segment_ids)
        return self.token_logits(hidden) if self.config.masked_lm else hidden

    def hidden(
        self,
        tokens: Int[Array, "batch length"],
        *,
        positions: Int[Array, "batch length"] | None = None,
        segment_ids: Int[Array, "batch length"] | None = None,
        deterministic: bool = True,
    ) -> Float[Array, "batch length features"]:
        """The vector of every token in its context. Arguments as for `Bert.hidden`."""
        c, names = self.config, ("activation_batch", "activation_length")
        if tokens.shape[1] > c.context_length:
            raise ConfigError(f"{tokens.shape[1]} tokens are more than the model's context_length {c.context_length}.")
        positions = jnp.arange(tokens.shape[1], dtype=jnp.int32)[None, :] if positions is None else positions
        x = self.embed_norm(self.token_embed(constrain(tokens, *names)) + self.position_embed(positions))
        x = self.embed_dropout(x, deterministic=deterministic) if c.dropout else x
        x = constrain(x, *names, "activation_embed")
        return run_blocks(self.blocks, c.num_layers, x, BlockInputs(segment_ids=segment_ids), deterministic=deterministic)[0]

    def token_logits(self, hidden: Float[Array, "*lead features"]) -> Float[Array, "*lead vocab"]:
        """Float32 logits over words, of all of `hidden` or of the masked places alone."""
        act = ACTIVATIONS[self.config.activation]
        return self.token_embed.attend(self.transform_norm(act(self.transform(hidden)))) + self.token_bias


# Parameters of the encoder (`DistilBertModel`): 66,362,880.
DISTILBERT_SIZES: Mapping[str, DistilBertConfig] = MappingProxyType({"distilbert_base_uncased": DistilBertConfig()})
