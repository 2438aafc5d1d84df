"""Whisper: an encoder over log-mel features and a decoder of text (Radford et al., 2022)."""

from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int

from genjax.errors import ConfigError
from genjax.layers.attention import Implementation
from genjax.layers.cache import KVCache
from genjax.layers.embedding import Embedding
from genjax.layers.linear import Projection
from genjax.layers.mlp import ACTIVATIONS, Activation
from genjax.models.checks import check_sizes
from genjax.models.stack import Stack
from genjax.models.transformer import BlockConfig, BlockInputs, Remat, StackConfig
from genjax.parallel.rules import constrain

STRIDE = 2  # features for each position of the encoder


@dataclass(frozen=True)
class WhisperConfig(StackConfig):
    """The hyper-parameters of a Whisper. The defaults are those of the multilingual tiny one.

    Attributes:
        vocab_size: rows of the token table, which is also the output head.
        num_mels: features of a frame, see `genjax.data.log_mel`.
        source_length: the longest source in positions of the encoder, each of `STRIDE` frames (1,500: 30 seconds).
        target_length: the longest text in tokens; rows of the learned positions.
        num_layers, num_decoder_layers: depth of the encoder, and of the decoder (0 for the same).
        num_heads, embed_dim: heads, width of the residual stream.
        mlp_dim: width of the MLP's hidden layer; 0 for 4 * embed_dim.
        activation: the MLP's; the convolutions' is always the exact GELU, as in the published models.
        start_id: the token that a text begins with.
        dropout, scan_layers, remat, dtype, attention: as in `GPTConfig`.
        init_std: standard deviation of kernels and tables.
    """

    vocab_size: int = 51865
    num_mels: int = 80
    source_length: int = 1500
    target_length: int = 448
    num_layers: int = 4
    num_decoder_layers: int = 0
    num_heads: int = 6
    embed_dim: int = 384
    mlp_dim: int = 0
    activation: Activation = "gelu"
    start_id: int = 50258
    dropout: float = 0.0
    scan_layers: bool = False
    remat: Remat = "none"
    dtype: Literal["float32", "bfloat16"] = "float32"
    attention: Implementation = "auto"
    init_std: float = 0.02

    def __post_init__(self):
        check_sizes(
            self,
            ("vocab_size", "num_mels", "source_length", "target_length", "num_layers", "num_heads", "embed_dim"),
            ("num_decoder_layers", "mlp_dim"),
        )
        if self.embed_dim % 2:
            raise ConfigError(f"model.embed_dim is {self.embed_dim}; it must be even, as sines and cosines share it.")

    @property
    def decoder_layers(self) -> int:
        """`num_decoder_layers` with its default filled in."""
        return self.num_decoder_layers or self.num_layers

    def block(self, decoder: bool) -> BlockConfig:
        """The hyper-parameters of each block of the encoder or the decoder."""
        return self._block(causal=decoder, cross=decoder, key_bias=False, residual_std=self.init_std)


class Convolution(nn.Module):
    """Over frames, three wide, padded by one frame of zeros at both ends.

    Attributes:
        features: width of the result.
        stride: frames for each frame of the result.
        init_std: standard deviation of the kernel, (3, features in, features out).
        dtype: the computation's dtype.
    """

    features: int
    stride: int
    init_std: float
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: Float[Array, "batch frames features_in"]) -> Float[Array, "batch frames_out features"]:
        frames = x.shape[1]
        padded = jnp.pad(x, ((0, 0), (1, 1), (0, 0)))
        windows = jnp.stack([padded[:, i : i + frames : self.stride] for i in range(3)], axis=2)
        init, axes = nn.initializers.normal(self.init_std), ("position", "mlp", "embed")
        return Projection((self.features,), axes, input_axes=2, kernel_init=init, dtype=self.dtype, name="projection")(windows)


class Whisper(nn.Module):
    """Log-mel features and the tokens of a text so far to logits over the next token."""

    config: WhisperConfig

    def setup(self):
        c = self.config
        init, dtype = nn.initializers.normal(c.init_std), jnp.dtype(c.dtype)
        self.convolutions = [Convolution(c.embed_dim, stride, c.init_std, dtype) for stride in (1, STRIDE)]
        # Never trained; a parameter all the same, since published checkpoints hold its values.
        fixed = lambda key, shape, dtype: jnp.asarray(sinusoids(*shape), dtype)  # noqa: E731
        self.source_positions = Embedding(c.source_length, c.embed_dim, "position", embedding_init=fixed, dtype=dtype)
        self.token_embed = Embedding(c.vocab_size, c.embed_dim, embedding_init=init, dtype=dtype)
        self.position_embed = Embedding(c.target_length, c.embed_dim, "position", embedding_init=init, dtype=dtype)
        self.dropout = nn.Dropout(c.dropout)
        shared = {"scan_layers": c.scan_layers, "remat": c.remat}
        self.encoder = Stack(c.block(decoder=False), c.num_layers, **shared)
        self.decoder = Stack(c.block(decoder=True), c.decoder_layers, **shared)

    def __call__(
        self,
        features: Float[Array, "batch frames mels"],
        tokens: Int[Array, "batch length"],
        *,
        feature_mask: Bool[Array, "batch frames"] | None = None,
        segment_ids: Int[Array, "batch length"] | None = None,
        deterministic: bool = True,
    ) -> Float[Array, "batch length vocab"]:
        """Float32 logits of the token after each of `tokens`, which begin with `start_id`.

        Args:
            feature_mask: False for frames that only fill up the batch, which then change nothing. None where all count, as in the
                published models, which listen to the silence up to 30 seconds.
            segment_ids: 1 for tokens and 0 for padding.
            deterministic: False to drop (needs a "dropout" key).
        """
        context, context_ids = self.encode(features, feature_mask=feature_mask, deterministic=deterministic)
        hidden, _ = self.decode(
            tokens, context, segment_ids=segment_ids, context_segment_ids=context_ids, deterministic=deterministic
        )
        return self.logits(hidden)

    def encode(
        self,
        features: Float[Array, "batch frames mels"],
        *,
        feature_mask: Bool[Array, "batch frames"] | None = None,
        deterministic: bool = True,
    ) -> tuple[Float[Array, "batch positions features"], Int[Array, "batch positions"] | None]:
        """What the decoder attends to, a position for each `STRIDE` frames, and 0 where that is padding (None without a mask).

        Raises:
            ConfigError: more frames than the model has positions for.
        """
        c = self.config
        if features.shape[1] > STRIDE * c.source_length:
            raise ConfigError(
                f"{features.shape[1]} frames are more than the {STRIDE * c.source_length} that the model hears; cut the sound."
            )
        activation = ACTIVATIONS["gelu"]
        x, valid = features, feature_mask
        for convolution, stride in zip(self.convolutions, (1, STRIDE), strict=True):
            # What a sequence alone would have beyond its end: the zeros of padding.
            x = x if valid is None else jnp.where(valid[:, :, None], x, 0)
            x = activation(convolution(x))
            valid = None if valid is None else valid[:, ::stride]
        x = x + jax.lax.stop_gradient(self.source_positions(jnp.arange(x.shape[1])))[None]
        x = constrain(x, "activation_batch", "activation_length", "activation_embed")
        ids = None if valid is None else valid.astype(jnp.int32)
        x, _ = self.encoder(self._dropped(x, deterministic), BlockInputs(segment_ids=ids), deterministic=deterministic)
        return x, ids

    def decode(
        self,
        tokens: Int[Array, "batch length"],
        context: Float[Array, "batch positions features"] | None = None,
        *,
        segment_ids: Int[Array, "batch length"] | None = None,
        context_segment_ids: Int[Array, "batch positions"] | None = None,
        cache: KVCache | None = None,
        deterministic: bool = True,
    ) -> tuple[Float[Array, "batch length features"], KVCache | None]:
        """What `logits` reads, for every token, and the advanced cache; as `EncoderDecoder.decode`.

        Raises:
            ConfigError: more tokens than learned positions.
        """
        length, names = tokens.shape[1], ("activation_batch", "activation_length")
        if length > self.config.target_length:
            raise ConfigError(f"{length} tokens are more than the model's target_length {self.config.target_length}.")
        positions = jnp.arange(length, dtype=jnp.int32)[None, :] if cache is None else cache.positions(length)
        x = self.token_embed(constrain(tokens, *names)) + self.position_embed(positions)
        x = self._dropped(constrain(x, *names, "activation_embed"), deterministic)
        inputs = BlockInputs(segment_ids=segment_ids, context=context, context_segment_ids=context_segment_ids)
        return self.decoder(x, inputs, cache, deterministic)

    def start_cache(
        self,
        context: Float[Array, "contexts positions features"],
        segment_ids: Int[Array, "contexts positions"] | None,
        slots: int,
    ) -> KVCache:
        """A cache for `decode` that holds the cross-attention keys and values of what `encode` gave; see `Stack.start_cache`."""
        return self.decoder.start_cache(context, segment_ids, slots)

    def logits(self, hidden: Float[Array, "batch length features"]) -> Float[Array, "batch length vocab"]:
        """Float32 logits of hidden states."""
        return constrain(self.token_embed.attend(hidden), "activation_batch", "activation_length", "activation_vocab")

    def _dropped(self, x: Array, deterministic: bool) -> Array:
        return self.dropout(x, deterministic=deterministic) if self.config.dropout else x


def flops_per_sound(config: WhisperConfig, frames: int, target_length: int) -> float:
    """Floating-point operations of training on one sound and its text, forward and backward; as
    `models.encoder_decoder.flops_per_pair`, with the convolutions."""
    c = config
    positions = -(-frames // STRIDE)
    width, mlp = c.embed_dim, 2 * c.embed_dim * c.hidden_width
    convolutions = 3 * width * (frames * c.num_mels + positions * width)
    encoder = c.num_layers * positions * (4 * width**2 + mlp)
    # A decoder block projects tokens six times, its context twice.
    decoder = c.decoder_layers * (target_length * (6 * width**2 + mlp) + positions * 2 * width**2)
    head = target_length * c.vocab_size * width
    keys = c.num_layers * positions**2 + c.decoder_layers * target_length * (target_length / 2 + positions)
    return 6.0 * (convolutions + encoder + decoder + head) + 12.0 * width * keys


def sinusoids(length: int, features: int) -> np.ndarray:
    """Whisper's positions [length, features]: sines, then cosines; frequencies from 1 to 1/10000, both included."""
    half = features // 2
    frequencies = np.exp(-np.log(10000.0) / max(half - 1, 1) * np.arange(half))
    angles = np.arange(length)[:, None] * frequencies
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32)
