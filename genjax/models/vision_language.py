"""A GPT that sees: an image tower feeds it by gated cross-attention, or as the first tokens of its text.

Gated (Flamingo; Alayrac et al., 2022, figure 4): before every n-th block of the GPT stands a block whose cross-attention sees the
image, and whose two sublayers are multiplied by tanh of a number that begins at 0. At the start the GPT says what it said before.

Prefix (LLaVA; Liu et al., 2023, section 4.1): the image's vectors are projected to the width of the GPT and stand for the first
tokens of its text. A causal mask lets every word see all of the image.
"""

from dataclasses import dataclass, field
from typing import Literal

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int

from genjax.errors import ConfigError
from genjax.layers.cache import KVCache, init_cache, with_context
from genjax.layers.linear import Projection
from genjax.layers.mlp import MLP
from genjax.models.clip import CLIPImage, CLIPImageConfig
from genjax.models.gpt import GPT, GPTConfig, flops_per_token
from genjax.models.transformer import BlockConfig, make_attention, make_norm
from genjax.models.vit import ViT, ViTConfig, flops_per_image

Fusion = Literal["prefix", "gated"]


@dataclass(frozen=True)
class VisionLanguageConfig:
    """An image tower, a GPT, and how they are joined.

    Attributes:
        gpt: of the GPT. Its context holds the image's tokens too where they are a prefix.
        vision: of a ViT as the image tower, without heads.
        clip: of a CLIP image tower in the place of `vision`, without projection.
        fusion: how the GPT sees the image.
        cross_every: gated: a cross-attention block stands before the first block of the GPT and every `cross_every` blocks on.
    """

    gpt: GPTConfig = field(default_factory=GPTConfig)
    vision: ViTConfig = field(default_factory=lambda: ViTConfig(num_classes=0))
    clip: CLIPImageConfig | None = None
    fusion: Fusion = "prefix"
    cross_every: int = 1

    def __post_init__(self):
        if self.clip is None and (self.vision.num_classes or self.vision.pooler):
            raise ConfigError("model.vision gives every patch's vector to the GPT; set its num_classes=0 and pooler=False.")
        if self.clip is not None and self.clip.projection_dim:
            raise ConfigError("model.clip gives every patch's vector to the GPT; set its projection_dim=0.")
        if self.cross_every < 1:
            raise ConfigError(f"model.cross_every is {self.cross_every}; it must be 1 or more.")
        if self.fusion == "gated" and self.gpt.scan_layers:
            raise ConfigError("model.fusion 'gated' puts layers between the GPT's blocks; set model.gpt.scan_layers=False.")
        if self.prefix_length >= self.gpt.context_length:
            raise ConfigError(
                f"the image has {self.prefix_length} tokens, but the GPT's context_length is {self.gpt.context_length}; raise it "
                "to hold the text too, or enlarge the patches."
            )

    @property
    def tower(self) -> ViTConfig | CLIPImageConfig:
        """The config of the image tower."""
        return self.vision if self.clip is None else self.clip

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        return self.vision.grid if self.clip is None else (self.clip.grid, self.clip.grid)

    @property
    def image_tokens(self) -> int:
        """Vectors of an image: the class token's, then the patches'."""
        return 1 + self.grid[0] * self.grid[1]

    @property
    def prefix_length(self) -> int:
        """Tokens of the GPT's text that stand for the image."""
        return self.image_tokens if self.fusion == "prefix" else 0

    @property
    def image_id(self) -> int:
        """The token that stands for a vector of the image: one past the vocabulary."""
        return self.gpt.vocab_size

    @property
    def num_gated(self) -> int:
        """Cross-attention blocks."""
        return -(-self.gpt.num_layers // self.cross_every) if self.fusion == "gated" else 0


class GatedCrossAttention(nn.Module):
    """x + tanh(a) attention(x, image), then x + tanh(b) MLP(x); a and b begin at 0 (Alayrac et al., 2022, figure 4)."""

    config: BlockConfig

    def setup(self):
        c = self.config
        zero = nn.with_logical_partitioning(nn.initializers.zeros, ())
        self.attention_norm = make_norm(c.norm, c.norm_epsilon, c.use_bias, c.dtype)
        self.attention = make_attention(c, cross=True)
        self.attention_gate = self.param("attention_gate", zero, (), jnp.float32)
        self.mlp_norm = make_norm(c.norm, c.norm_epsilon, c.use_bias, c.dtype)
        self.mlp = MLP(
            c.mlp_dim,
            activation=c.activation,
            gated=c.gated,
            use_bias=c.use_bias,
            kernel_init=nn.initializers.normal(c.init_std),
            out_init=nn.initializers.normal(c.init_std),
            dtype=jnp.dtype(c.dtype),
        )
        self.mlp_gate = self.param("mlp_gate", zero, (), jnp.float32)

    def __call__(
        self,
        x: Float[Array, "batch length features"],
        image: Float[Array, "batch image_tokens image_features"] | None,
        keys_values: tuple[Array, Array] | None = None,
    ) -> Float[Array, "batch length features"]:
        """`keys_values` of a `KVCache` take the image's place."""
        seen, _ = self.attention(self.attention_norm(x), image, keys_values=keys_values)
        x = x + jnp.tanh(self.attention_gate).astype(x.dtype) * seen
        return x + jnp.tanh(self.mlp_gate).astype(x.dtype) * self.mlp(self.mlp_norm(x))

    def keys_values(self, image: Float[Array, "batch image_tokens image_features"]) -> tuple[Array, Array]:
        """What `__call__` reads of an image."""
        return self.attention.keys_values(image)


class GatedAdapter(nn.Module):
    """The cross-attention blocks."""

    config: VisionLanguageConfig

    def setup(self):
        self.blocks = [GatedCrossAttention(self.config.gpt.block()) for _ in range(self.config.num_gated)]

    def __call__(self, x: Array, number: int, image: Array | None, keys_values: tuple[Array, Array] | None = None) -> Array:
        """The residual stream after block `number`."""
        return self.blocks[number](x, image, keys_values)

    def keys_values(self, image: Array) -> list[tuple[Array, Array]]:
        """Of every block."""
        return [block.keys_values(image) for block in self.blocks]


class PrefixAdapter(nn.Module):
    """The image's vectors at the width of the GPT."""

    config: VisionLanguageConfig

    def setup(self):
        c = self.config.gpt
        init = nn.initializers.normal(c.init_std)
        self.projection = Projection((c.embed_dim,), ("embed", "embed"), kernel_init=init, dtype=jnp.dtype(c.dtype))

    def __call__(self, image: Float[Array, "batch image_tokens image_features"]) -> Float[Array, "batch image_tokens features"]:
        return self.projection(image)


class VisionLanguage(nn.Module):
    """Images and tokens to logits over the next token. Its three parts, `vision`, `gpt` and `adapter`, are the top of the tree of
    parameters; those of `vision` and `gpt` are what a tower or a GPT alone has."""

    config: VisionLanguageConfig

    def setup(self):
        c = self.config
        self.vision = ViT(c.vision) if c.clip is None else CLIPImage(c.clip)
        self.gpt = GPT(c.gpt)
        self.adapter = PrefixAdapter(c) if c.fusion == "prefix" else GatedAdapter(c)

    def __call__(
        self,
        images: Float[Array, "batch height width channels"],
        tokens: Int[Array, "batch length"],
        *,
        deterministic: bool = True,
    ) -> Float[Array, "batch length vocab"]:
        """Float32 logits of the token after each of `tokens`, which do not hold the image's.

        Args:
            images: as the tower reads them (a ViT: in [-1, 1]).
            tokens: padded to the right; what stands behind a text changes nothing in it.
            deterministic: False to drop (needs a "dropout" key).
        """
        image = self.encode(images, deterministic=deterministic)
        hidden, _ = self.hidden(self.with_prefix(tokens), image, deterministic=deterministic)
        return self.gpt.logits(hidden[:, self.config.prefix_length :])

    def encode(
        self, images: Float[Array, "batch height width channels"], *, deterministic: bool = True
    ) -> Float[Array, "batch image_tokens image_features"]:
        """What the GPT reads of images: the tower's vectors after its final norm; for a prefix, projected."""
        if self.config.clip is None:
            image = self.vision.features(images, deterministic=deterministic)
        else:
            image = self.vision.final_norm(self.vision.hidden(images))
        return self.adapter(image) if self.config.fusion == "prefix" else image

    def with_prefix(self, tokens: Int[Array, "batch length"]) -> Int[Array, "batch prefix_and_length"]:
        """The tokens with those that stand for the image in front, where there are such."""
        front = jnp.full((tokens.shape[0], self.config.prefix_length), self.config.image_id, tokens.dtype)
        return jnp.concatenate([front, tokens], axis=1)

    def hidden(
        self,
        tokens: Int[Array, "batch length"],
        image: Float[Array, "batch image_tokens image_features"] | None = None,
        *,
        cache: KVCache | None = None,
        deterministic: bool = True,
    ) -> tuple[Float[Array, "batch length features"], KVCache | None]:
        """What `GPT.logits` reads, for every token, and the advanced cache (None without one).

        Args:
            tokens: for a prefix with `image_id` where the image's vectors stand.
            image: what `encode` gives. Not needed once a cache of `start_cache` has read the prefix.
        """
        c = self.config
        if c.fusion == "prefix":
            return self.gpt.hidden(tokens, cache=cache, deterministic=deterministic, vectors=self._vectors(tokens, image))

        def see(layer: int, x: Array) -> Array:
            number, between = divmod(layer, c.cross_every)
            if between:
                return x
            return self.adapter(x, number, image, None if cache is None else cache.cross(number))

        return self.gpt.hidden(tokens, cache=cache, deterministic=deterministic, before_block=see)

    def logits(self, hidden: Float[Array, "batch length features"]) -> Float[Array, "batch length vocab"]:
        """Float32 logits of hidden states."""
        return self.gpt.logits(hidden)

    def start_cache(self, image: Float[Array, "batch image_tokens image_features"], slots: int) -> KVCache:
        """A cache of `slots` tokens, those of a prefix among them; gated, it holds the keys and values of the image."""
        c = self.config.gpt
        shape = (c.num_layers, image.shape[0], slots, c.kv_heads, c.head_width)
        cache = init_cache(*shape, jnp.dtype(c.dtype), stacked=c.scan_layers)
        return with_context(cache, self.adapter.keys_values(image)) if self.config.fusion == "gated" else cache

    def _vectors(self, tokens: Array, image: Array | None) -> Array:
        """The tokens' vectors, the n-th of `image` in the place of a row's n-th `image_id`."""
        words = self.gpt.embed(tokens)
        if image is None:
            return words
        stands = tokens == self.config.image_id
        which = jnp.maximum(jnp.cumsum(stands, axis=1) - 1, 0)
        seen = jnp.take_along_axis(image, which[..., None], axis=1, mode="clip").astype(words.dtype)
        return jnp.where(stands[..., None], seen, words)


def flops_per_example(config: VisionLanguageConfig, length: int) -> float:
    """Floating-point operations of training everything on one image with a text of `length`, forward and backward.

    As `flops_per_image` of a ViT (a CLIP tower counts as one) and `flops_per_token` of a GPT count them, a prefix as tokens, and
    for a gated block its kernels and 12 * head_dim for every head and vector of the image that a token attends.
    """
    c = config
    g, width = c.gpt, c.tower.embed_dim
    tower = c.vision if c.clip is None else ViTConfig(
        image_size=c.clip.image_size, patch_size=c.clip.patch_size, channels=c.clip.channels, num_classes=0,
        num_layers=c.clip.num_layers, num_heads=c.clip.num_heads, embed_dim=c.clip.embed_dim, mlp_dim=c.clip.mlp_dim,
    )  # fmt: skip
    tokens = c.prefix_length + length
    total = flops_per_image(tower) + tokens * flops_per_token(g, tokens)
    if c.fusion == "prefix":
        return total + 6.0 * c.image_tokens * width * g.embed_dim
    heads, kv = g.num_heads * g.head_width, g.kv_heads * g.head_width
    of_tokens = 2 * g.embed_dim * heads + g.embed_dim * g.hidden_width * (3 if g.gated else 2)
    of_image = 2 * width * kv
    seen = 12.0 * heads * length * c.image_tokens
    return total + c.num_gated * (6.0 * (length * of_tokens + c.image_tokens * of_image) + seen)
