"""CLIP: a text tower and an image tower that meet on a sphere (Radford et al., 2021)."""

import math
from dataclasses import dataclass, field

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int

from genjax.errors import ConfigError
from genjax.layers.embedding import Embedding
from genjax.layers.linear import Projection
from genjax.layers.norm import LayerNorm
from genjax.layers.patches import PatchEmbedding, resize_positions
from genjax.models.clip_resnet import CLIPResNet, CLIPResNetConfig
from genjax.models.tower import Matched, TowerConfig, limited, normalized
from genjax.models.transformer import BlockInputs, make_blocks, run_blocks
from genjax.parallel.rules import constrain

MAX_SCALE = 100.0  # of the cosines; the paper's section 2.5


@dataclass(frozen=True)
class CLIPTextConfig(TowerConfig):
    """The text tower. The defaults are those of ViT-B/32.

    Attributes:
        vocab_size, context_length: rows of the tables of tokens and positions.
        eos_id: the token whose first occurrence stands for the whole text; None for the largest id in the row: OpenAI's rule, the
            same for its tokenizer, and not where tokens were added after the end-of-text token.
    """

    num_heads: int = 8
    embed_dim: int = 512
    vocab_size: int = 49408
    context_length: int = 77
    eos_id: int | None = None


@dataclass(frozen=True)
class CLIPImageConfig(TowerConfig):
    """The image tower as a vision transformer. The defaults are those of ViT-B/32.

    Attributes:
        image_size, patch_size: height and width in pixels of the (square) images and patches that positions are for.
        channels: of the images.
    """

    image_size: int = 224
    patch_size: int = 32
    channels: int = 3

    def __post_init__(self):
        super().__post_init__()
        if not 1 <= self.patch_size <= self.image_size:
            raise ConfigError(f"model.patch_size is {self.patch_size}; it must be 1 to image_size {self.image_size}.")

    @property
    def grid(self) -> int:
        """Patches along each side."""
        return self.image_size // self.patch_size


@dataclass(frozen=True)
class CLIPConfig:
    """Both towers.

    Attributes:
        text, image: the towers; their projection_dim is the same.
        resnet: an image tower that takes the place of `image`.
        initial_scale: what cosines are multiplied by at the start; it is learned, as a logarithm.
    """

    text: CLIPTextConfig = field(default_factory=CLIPTextConfig)
    image: CLIPImageConfig = field(default_factory=CLIPImageConfig)
    resnet: CLIPResNetConfig | None = None
    initial_scale: float = 1 / 0.07

    def __post_init__(self):
        seen = self.image if self.resnet is None else self.resnet
        if self.text.projection_dim != seen.projection_dim or not seen.projection_dim:
            raise ConfigError(
                f"projection_dim is {self.text.projection_dim} in model.text and {seen.projection_dim} in the image tower; it "
                "must be the same number above 0, as embeddings of texts and images are compared."
            )
        if not 0 < self.initial_scale <= MAX_SCALE:
            raise ConfigError(f"model.initial_scale is {self.initial_scale}; it must be above 0 and at most {MAX_SCALE:g}.")


class CLIPText(nn.Module):
    """Tokens to one vector: a causal transformer, read at the end-of-text token."""

    config: CLIPTextConfig

    def setup(self):
        c = self.config
        dtype = jnp.dtype(c.dtype)
        self.token_embed = Embedding(c.vocab_size, c.embed_dim, embedding_init=nn.initializers.normal(0.02), dtype=dtype)
        self.position_embed = Embedding(
            c.context_length, c.embed_dim, "position", embedding_init=nn.initializers.normal(0.01), dtype=dtype
        )
        self.blocks = make_blocks(c.block(causal=True), c.num_layers, c.scan_layers, c.remat)
        self.final_norm = LayerNorm(c.norm_epsilon, dtype=dtype)
        if c.projection_dim:
            self.projection = _projection(c)

    def __call__(
        self, tokens: Int[Array, "batch length"], mask: Bool[Array, "batch length"] | None = None
    ) -> Float[Array, "batch embedding"]:
        """Float32 embeddings, not normalized: the end-of-text token's features, projected where there is a projection.

        Args:
            tokens: ids, padded to the right.
            mask: True for tokens, False for padding. It may be left out: causal attention does not look at what stands behind the
                end-of-text token.
        """
        return self.pool(self.hidden(tokens, mask), tokens)

    def hidden(
        self, tokens: Int[Array, "batch length"], mask: Bool[Array, "batch length"] | None = None, skip: int = 0
    ) -> Float[Array, "batch length features"]:
        """Every token's features after the final norm; with `skip`, those that leave the block `skip` before the last, without
        the norm (Stable Diffusion XL reads them at 1).

        Raises:
            ConfigError: more tokens than positions, or blocks that cannot be skipped.
        """
        c = self.config
        if tokens.shape[1] > c.context_length:
            raise ConfigError(f"{tokens.shape[1]} tokens are more than CLIP's context_length {c.context_length}; cut the text.")
        if not 0 <= skip < c.num_layers or skip and c.scan_layers:
            raise ConfigError(
                f"{skip} of {c.num_layers} blocks cannot be skipped" + ("; use scan_layers=False." if skip else ".")
            )
        names = ("activation_batch", "activation_length")
        x = self.token_embed(constrain(tokens, *names)) + self.position_embed(jnp.arange(tokens.shape[1]))[None]
        x = constrain(x, *names, "activation_embed")
        inputs = BlockInputs(segment_ids=None if mask is None else mask.astype(jnp.int32))
        x, _ = run_blocks(self.blocks[: c.num_layers - skip] if skip else self.blocks, c.num_layers, x, inputs)
        return x if skip else self.final_norm(x)

    def pool(
        self, hidden: Float[Array, "batch length features"], tokens: Int[Array, "batch length"]
    ) -> Float[Array, "batch embedding"]:
        """What `__call__` gives, from `hidden` without skipped blocks."""
        c = self.config
        # argmax is the first of the largest: a row that is padded with the end-of-text token ends at its first.
        end = jnp.argmax(tokens if c.eos_id is None else tokens == c.eos_id, axis=1)
        pooled = jnp.take_along_axis(hidden, end[:, None, None], axis=1)[:, 0]
        return self.projection(pooled) if c.projection_dim else pooled.astype(jnp.float32)


class CLIPImage(nn.Module):
    """Images to one vector: a vision transformer with a norm before its blocks, read at its class token."""

    config: CLIPImageConfig

    def setup(self):
        c = self.config
        init, dtype = nn.initializers.normal(c.embed_dim**-0.5), jnp.dtype(c.dtype)
        self.patch_embed = PatchEmbedding(c.patch_size, c.embed_dim, use_bias=False, dtype=dtype)
        self.class_embed = self.param("class_embed", nn.with_logical_partitioning(init, ("norm",)), (c.embed_dim,), jnp.float32)
        # Row 0 is the class token's.
        positions = nn.with_logical_partitioning(init, ("position", "embed"))
        self.position_embed = self.param("position_embed", positions, (c.grid**2 + 1, c.embed_dim), jnp.float32)
        self.pre_norm = LayerNorm(c.norm_epsilon, dtype=dtype)
        self.blocks = make_blocks(c.block(causal=False), c.num_layers, c.scan_layers, c.remat)
        self.final_norm = LayerNorm(c.norm_epsilon, dtype=dtype)
        if c.projection_dim:
            self.projection = _projection(c)

    def __call__(self, images: Float[Array, "batch height width channels"]) -> Float[Array, "batch embedding"]:
        """Float32 embeddings, not normalized: the class token's features, projected where there is a projection.

        Args:
            images: normalized by the mean and standard deviation of CLIP's training images; of any size, see `hidden`.
        """
        pooled = self.final_norm(self.hidden(images)[:, 0])
        return self.projection(pooled) if self.config.projection_dim else pooled.astype(jnp.float32)

    def hidden(self, images: Float[Array, "batch height width channels"]) -> Float[Array, "batch tokens features"]:
        """Features of the class token and of every patch after the last block, without the final norm.

        Positions are interpolated for images that are not of `image_size`.

        Raises:
            ConfigError: images without `channels`, or smaller than a patch.
        """
        c = self.config
        if images.shape[-1] != c.channels:
            raise ConfigError(f"images have {images.shape[-1]} channels, but the model's channels are {c.channels}.")
        patches = self.patch_embed(images)
        grid = (images.shape[1] // c.patch_size, images.shape[2] // c.patch_size)
        positions = jnp.concatenate(
            [self.position_embed[:1], resize_positions(self.position_embed[1:], (c.grid, c.grid), grid)]
        ).astype(patches.dtype)
        first = jnp.broadcast_to(self.class_embed.astype(patches.dtype), (images.shape[0], 1, c.embed_dim))
        x = jnp.concatenate([first, patches], axis=1) + positions
        x = constrain(self.pre_norm(x), "activation_batch", "activation_length", "activation_embed")
        return run_blocks(self.blocks, c.num_layers, x, BlockInputs())[0]


class CLIP(nn.Module):
    """Images and texts to `Matched`."""

    config: CLIPConfig

    def setup(self):
        c = self.config
        self.text = CLIPText(c.text)
        self.image = CLIPImage(c.image) if c.resnet is None else CLIPResNet(c.resnet)
        initial = nn.initializers.constant(math.log(c.initial_scale))
        self.log_scale = self.param("log_scale", nn.with_logical_partitioning(initial, ()), (), jnp.float32)

    def __call__(
        self,
        images: Float[Array, "images height width channels"],
        tokens: Int[Array, "texts length"],
        mask: Bool[Array, "texts length"] | None = None,
        train: bool = False,
    ) -> Matched:
        """`train` counts only for a ResNet: batch statistics, and moving ones to be updated (collection "batch_stats")."""
        images, texts = self.encode_images(images, train), self.encode_texts(tokens, mask)
        return Matched(images, texts, limited(self.log_scale, math.log(MAX_SCALE)), jnp.zeros(()))

    def encode_images(
        self, images: Float[Array, "images height width channels"], train: bool = False
    ) -> Float[Array, "images embedding"]:
        """Embeddings of length 1, float32."""
        return normalized(self.image(images) if self.config.resnet is None else self.image(images, train=train))

    def encode_texts(
        self, tokens: Int[Array, "texts length"], mask: Bool[Array, "texts length"] | None = None
    ) -> Float[Array, "texts embedding"]:
        """Embeddings of length 1, float32."""
        return normalized(self.text(tokens, mask))


def _projection(config: TowerConfig) -> Projection:
    return Projection(
        (config.projection_dim,),
        ("embed", None),
        use_bias=False,
        kernel_init=nn.initializers.normal(config.embed_dim**-0.5),
        dtype=jnp.dtype(config.dtype),
        out_dtype=jnp.float32,
    )
