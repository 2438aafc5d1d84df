"""SigLIP: towers whose pairs are told apart one by one, with a sigmoid (Zhai et al., 2023)."""

import math
from dataclasses import dataclass, field

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int

from genjax.errors import ConfigError
from genjax.layers.embedding import Embedding
from genjax.layers.linear import Projection
from genjax.layers.mlp import MLP, Activation
from genjax.layers.multihead import MultiHeadAttention
from genjax.layers.norm import LayerNorm
from genjax.layers.patches import PatchEmbedding, resize_positions
from genjax.models.tower import Matched, TowerConfig, normalized
from genjax.models.transformer import BlockInputs, make_blocks, run_blocks
from genjax.parallel.rules import constrain


@dataclass(frozen=True)
class SigLIPTextConfig(TowerConfig):
    """The text tower. The defaults are those of B/16.

    Attributes:
        vocab_size, context_length: rows of the tables of tokens and positions.
    """

    activation: Activation = "gelu_tanh"
    norm_epsilon: float = 1e-6
    projection_dim: int = 768
    vocab_size: int = 32000
    context_length: int = 64


@dataclass(frozen=True)
class SigLIPImageConfig(TowerConfig):
    """The image tower, whose embedding is as wide as its blocks. The defaults are those of B/16.

    Attributes:
        image_size, patch_size: height and width in pixels of the (square) images and patches that positions are for.
        channels: of the images.
    """

    activation: Activation = "gelu_tanh"
    norm_epsilon: float = 1e-6
    projection_dim: int = 0
    image_size: int = 224
    patch_size: int = 16
    channels: int = 3

    def __post_init__(self):
        super().__post_init__()
        if self.projection_dim:
            raise ConfigError(f"model.image.projection_dim is {self.projection_dim}; SigLIP has none there: it must be 0.")
        if not 1 <= self.patch_size <= self.image_size:
            raise ConfigError(f"model.patch_size is {self.patch_size}; it must be 1 to image_size {self.image_size}.")

    @property
    def grid(self) -> int:
        """Patches along each side."""
        return self.image_size // self.patch_size


@dataclass(frozen=True)
class SigLIPConfig:
    """Both towers.

    Attributes:
        text, image: the towers; the text's projection_dim is the image's embed_dim.
        initial_scale, initial_bias: what makes logits of cosines at the start; both are learned, the scale as a logarithm.
    """

    text: SigLIPTextConfig = field(default_factory=SigLIPTextConfig)
    image: SigLIPImageConfig = field(default_factory=SigLIPImageConfig)
    initial_scale: float = 10.0
    initial_bias: float = -10.0

    def __post_init__(self):
        if self.text.projection_dim != self.image.embed_dim:
            raise ConfigError(
                f"model.text.projection_dim is {self.text.projection_dim} and model.image.embed_dim {self.image.embed_dim}; they "
                "must be the same number, as embeddings of texts and images are compared."
            )
        if self.initial_scale <= 0:
            raise ConfigError(f"model.initial_scale is {self.initial_scale}; it must be above 0.")


class SigLIPText(nn.Module):
    """Tokens to one vector: a bidirectional transformer, read at the last token."""

    config: SigLIPTextConfig

    def setup(self):
        c = self.config
        init, dtype = nn.initializers.normal(0.02), jnp.dtype(c.dtype)
        self.token_embed = Embedding(c.vocab_size, c.embed_dim, embedding_init=init, dtype=dtype)
        self.position_embed = Embedding(c.context_length, c.embed_dim, "position", embedding_init=init, dtype=dtype)
        self.blocks = make_blocks(c.block(causal=False), c.num_layers, c.scan_layers, c.remat)
        self.final_norm = LayerNorm(c.norm_epsilon, dtype=dtype)
        if c.projection_dim:
            self.projection = Projection(
                (c.projection_dim,),
                ("embed", None),
                kernel_init=nn.initializers.normal(c.embed_dim**-0.5),
                dtype=dtype,
                out_dtype=jnp.float32,
            )

    def __call__(
        self, tokens: Int[Array, "batch length"], mask: Bool[Array, "batch length"] | None = None
    ) -> Float[Array, "batch embedding"]:
        """Float32 embeddings, not normalized.

        Args:
            tokens: ids. The published models were trained on rows that are padded to 64, with padding treated as text: give them
                such rows, and no mask.
            mask: True for tokens, False for padding, which then has no effect: the last token that is none is read.

        Raises:
            ConfigError: more tokens than positions.
        """
        c = self.config
        if tokens.shape[1] > c.context_length:
            raise ConfigError(f"{tokens.shape[1]} tokens are more than SigLIP's context_length {c.context_length}; cut the text.")
        names = ("activation_batch", "activation_length")
        x = self.token_embed(constrain(tokens, *names)) + self.position_embed(jnp.arange(tokens.shape[1]))[None]
        x = constrain(x, *names, "activation_embed")
        inputs = BlockInputs(segment_ids=None if mask is None else mask.astype(jnp.int32))
        x = self.final_norm(run_blocks(self.blocks, c.num_layers, x, inputs)[0])
        pooled = x[:, -1]
        if mask is not None:
            last = x.shape[1] - 1 - jnp.argmax(mask[:, ::-1], axis=1)
            pooled = jnp.take_along_axis(x, last[:, None, None], axis=1)[:, 0]
        return self.projection(pooled) if c.projection_dim else pooled.astype(jnp.float32)


class SigLIPImage(nn.Module):
    """Images to one vector: a vision transformer without a class token; a learned query attends to its patches."""

    config: SigLIPImageConfig

    def setup(self):
        c = self.config
        dtype, init = jnp.dtype(c.dtype), nn.initializers.normal(c.embed_dim**-0.5)
        self.patch_embed = PatchEmbedding(c.patch_size, c.embed_dim, dtype=dtype)
        self.position_embed = self.param(
            "position_embed", nn.with_logical_partitioning(init, ("position", "embed")), (c.grid**2, c.embed_dim), jnp.float32
        )
        self.blocks = make_blocks(c.block(causal=False), c.num_layers, c.scan_layers, c.remat)
        self.final_norm = LayerNorm(c.norm_epsilon, dtype=dtype)
        self.probe = self.param("probe", nn.with_logical_partitioning(init, ("norm",)), (c.embed_dim,), jnp.float32)
        self.pool_attention = MultiHeadAttention(
            c.num_heads, c.num_heads, c.embed_dim // c.num_heads, causal=False, kernel_init=init, out_init=init, dtype=dtype
        )
        self.pool_norm = LayerNorm(c.norm_epsilon, dtype=dtype)
        self.pool_mlp = MLP(c.hidden_width, activation=c.activation, kernel_init=init, out_init=init, dtype=dtype)

    def __call__(self, images: Float[Array, "batch height width channels"]) -> Float[Array, "batch embedding"]:
        """Float32 embeddings, not normalized (Zhai et al., 2022, figure 5: attention pooling).

        Args:
            images: in [-1, 1]; of any size, see `hidden`.
        """
        x = self.hidden(images)
        probe = jnp.broadcast_to(self.probe.astype(x.dtype), (x.shape[0], 1, x.shape[2]))
        pooled = self.pool_attention(probe, x)[0]
        return (pooled + self.pool_mlp(self.pool_norm(pooled)))[:, 0].astype(jnp.float32)

    def hidden(self, images: Float[Array, "batch height width channels"]) -> Float[Array, "batch patches features"]:
        """Features of every patch after the final norm.

        Positions are interpolated for images that are not of `image_size`.

        Raises:
            ConfigError: images without `channels`, or smaller than a patch.
        """
        c = self.config
        if images.shape[-1] != c.channels:
            raise ConfigError(f"images have {images.shape[-1]} channels, but the model's channels are {c.channels}.")
        x = self.patch_embed(images)
        grid = (images.shape[1] // c.patch_size, images.shape[2] // c.patch_size)
        x = x + resize_positions(self.position_embed, (c.grid, c.grid), grid).astype(x.dtype)
        x = constrain(x, "activation_batch", "activation_length", "activation_embed")
        return self.final_norm(run_blocks(self.blocks, c.num_layers, x, BlockInputs())[0])


class SigLIP(nn.Module):
    """Images and texts to `Matched`."""

    config: SigLIPConfig

    def setup(self):
        c = self.config
        self.text, self.image = SigLIPText(c.text), SigLIPImage(c.image)
        self.log_scale = self._number("log_scale", math.log(c.initial_scale))
        self.logit_bias = self._number("logit_bias", c.initial_bias)

    def __call__(
        self,
        images: Float[Array, "images height width channels"],
        tokens: Int[Array, "texts length"],
        mask: Bool[Array, "texts length"] | None = None,
    ) -> Matched:
        """Embeddings, scale and bias; a logit's sigmoid is the probability that the text is the image's."""
        return Matched(self.encode_images(images), self.encode_texts(tokens, mask), self.log_scale, self.logit_bias)

    def encode_images(self, images: Float[Array, "images height width channels"]) -> Float[Array, "images embedding"]:
        """Embeddings of length 1, float32."""
        return normalized(self.image(images))

    def encode_texts(
        self, tokens: Int[Array, "texts length"], mask: Bool[Array, "texts length"] | None = None
    ) -> Float[Array, "texts embedding"]:
        """Embeddings of length 1, float32."""
        return normalized(self.text(tokens, mask))

    def _number(self, name: str, initial: float) -> Float[Array, ""]:
        return self.param(name, nn.with_logical_partitioning(nn.initializers.constant(initial), ()), (), jnp.float32)
