"""ViT: a transformer over the patches of an image (Dosovitskiy et al., 2021)."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from genjax.errors import ConfigError
from genjax.layers.attention import Implementation
from genjax.layers.linear import Projection
from genjax.layers.mlp import Activation
from genjax.layers.norm import LayerNorm
from genjax.layers.patches import PatchEmbedding, resize_positions
from genjax.models.checks import check_sizes
from genjax.models.transformer import BlockConfig, BlockInputs, Remat, StackConfig, make_blocks, run_blocks
from genjax.parallel.rules import constrain


@dataclass(frozen=True)
class ViTConfig(StackConfig):
    """The hyper-parameters of a ViT. The defaults are ViT-B/16 for ImageNet's 1,000 classes.

    Attributes:
        image_size: height and width in pixels that the learned positions are for: one number, or (height, width).
        patch_size: height and width of a patch, in pixels.
        channels: of an image.
        num_classes: of the classification head; 0 for none.
        pooler: whether the class token's vector goes through a dense layer and tanh (models without a classifier have it).
        num_layers, num_heads, embed_dim: depth, heads, width of the residual stream.
        mlp_dim: width of the MLP's hidden layer; 0 for 4 * embed_dim.
        activation: the MLP's.
        norm_epsilon: what norms add to the variance.
        dropout: share dropped, while training, of the embeddings and of each sublayer's output (not of attention weights).
        scan_layers, remat, dtype, attention: see `GPTConfig`.
        init_std: standard deviation of kernels and positions.
    """

    image_size: int | tuple[int, int] = 224
    patch_size: int = 16
    channels: int = 3
    num_classes: int = 1000
    pooler: bool = False
    num_layers: int = 12
    num_heads: int = 12
    embed_dim: int = 768
    mlp_dim: int = 0
    activation: Activation = "gelu"
    norm_epsilon: float = 1e-12
    dropout: float = 0.0
    scan_layers: bool = False
    remat: Remat = "none"
    dtype: Literal["float32", "bfloat16"] = "float32"
    attention: Implementation = "auto"
    init_std: float = 0.02

    def __post_init__(self):
        check_sizes(self, ("patch_size", "channels", "num_layers", "num_heads", "embed_dim"), ("num_classes", "mlp_dim"))
        size = self.image_size
        numbers = (size, size) if isinstance(size, int) else size
        if not isinstance(numbers, tuple) or len(numbers) != 2 or not all(isinstance(n, int) for n in numbers):
            raise ConfigError(f"model.image_size is {size!r}; it must be a number of pixels, or (height, width).")
        if min(numbers) < self.patch_size:
            raise ConfigError(f"model.image_size {size} is smaller than one patch of {self.patch_size} pixels; enlarge it.")

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches in an image of `image_size`."""
        size = self.image_size
        height, width = (size, size) if isinstance(size, int) else size
        return height // self.patch_size, width // self.patch_size

    def block(self) -> BlockConfig:
        """The hyper-parameters of each block."""
        return self._block(causal=False, residual_std=self.init_std)


class ViTOutput(NamedTuple):
    """What a ViT says of images; None where it has no such head.

    Attributes:
        features: the vectors after the final norm: the class token's, then the patches', row by row.
        pooled: the pooler's vector, in [-1, 1].
        logits: float32, over classes.
    """

    features: Float[Array, "batch tokens features"]
    pooled: Float[Array, "batch features"] | None
    logits: Float[Array, "batch classes"] | None


class ViT(nn.Module):
    """Images to features, and to logits over classes."""

    config: ViTConfig

    def setup(self):
        c = self.config
        init, dtype = nn.initializers.normal(c.init_std), jnp.dtype(c.dtype)
        rows, columns = c.grid
        table = nn.with_logical_partitioning(init, ("position", "embed"))
        self.class_token = self.param("class_token", nn.with_logical_partitioning(init, ("norm",)), (c.embed_dim,), jnp.float32)
        self.patch_embed = PatchEmbedding(c.patch_size, c.embed_dim, kernel_init=init, dtype=dtype)
        self.position_embed = self.param("position_embed", table, (1 + rows * columns, c.embed_dim), jnp.float32)
        self.embed_dropout = nn.Dropout(c.dropout)
        self.blocks = make_blocks(c.block(), c.num_layers, c.scan_layers, c.remat)
        self.final_norm = LayerNorm(c.norm_epsilon, dtype=dtype)
        if c.pooler:
            self.pooler = Projection((c.embed_dim,), ("embed", "embed"), kernel_init=init, dtype=dtype)
        if c.num_classes:
            self.head = Projection((c.num_classes,), ("embed", "vocab"), kernel_init=init, dtype=dtype, out_dtype=jnp.float32)

    def __call__(self, images: Float[Array, "batch height width channels"], *, deterministic: bool = True) -> ViTOutput:
        """Everything that the model can say. Arguments as in `features`."""
        features = self.features(images, deterministic=deterministic)
        return ViTOutput(
            features,
            jnp.tanh(self.pooler(features[:, 0])) if self.config.pooler else None,
            self.head(features[:, 0]) if self.config.num_classes else None,
        )

    def features(
        self, images: Float[Array, "batch height width channels"], *, deterministic: bool = True
    ) -> Float[Array, "batch tokens features"]:
        """One vector for the class token and one for each patch, row by row; no pooling.

        Args:
            images: in [-1, 1]. Of any size: where the grid of patches is not that of `image_size`, the learned positions are
                resized to it, bicubic. Pixels at the right and the bottom that fill no patch are left out.
            deterministic: False to drop (needs a "dropout" key).

        Raises:
            ConfigError: images of another number of channels, or smaller than a patch.
        """
        c = self.config
        batch, height, width, channels = images.shape
        if channels != c.channels:
            raise ConfigError(f"images of {channels} channels for a model of {c.channels}; convert them, or set model.channels.")
        patches = self.patch_embed(images)
        grid = height // c.patch_size, width // c.patch_size
        positions = jnp.concatenate([self.position_embed[:1], resize_positions(self.position_embed[1:], c.grid, grid)])
        first = jnp.broadcast_to(self.class_token.astype(patches.dtype), (batch, 1, c.embed_dim))
        x = jnp.concatenate([first, patches], axis=1) + positions.astype(patches.dtype)
        if c.dropout:
            x = self.embed_dropout(x, deterministic=deterministic)
        x = constrain(x, "activation_batch", "activation_length", "activation_embed")
        x, _ = run_blocks(self.blocks, c.num_layers, x, BlockInputs(), deterministic=deterministic)
        return self.final_norm(x)


def flops_per_image(config: ViTConfig) -> float:
    """Floating-point operations of training on one image of `image_size`, forward and backward.

    Six for every kernel parameter that a token meets and 12 * head_dim for every head and key it attends, in every layer
    (Chowdhery et al., 2022, appendix B).
    """
    c = config
    patches = c.grid[0] * c.grid[1]
    tokens = patches + 1
    block = 4 * c.embed_dim**2 + 2 * c.embed_dim * c.hidden_width
    once = patches * c.patch_size**2 * c.channels * c.embed_dim + c.num_classes * c.embed_dim
    return 6.0 * (tokens * c.num_layers * block + once) + 12.0 * c.num_layers * c.embed_dim * tokens * tokens
