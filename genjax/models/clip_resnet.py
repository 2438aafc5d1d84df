"""CLIP's ResNet: a stem of three convolutions, blurred strides, pooling by attention (Radford et al., 2021, section 2.4)."""

from dataclasses import dataclass
from functools import partial
from typing import Literal

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from genjax.errors import ConfigError
from genjax.layers.attention import attention
from genjax.layers.linear import Projection
from genjax.layers.patches import resize_positions
from genjax.parallel.rules import constrain


@dataclass(frozen=True)
class CLIPResNetConfig:
    """The defaults are RN50's.

    Attributes:
        layers: bottleneck blocks of the four stages.
        width: channels that leave the stem; the last stage has 32 times as many.
        head_dim: width of a head of the pooling attention.
        image_size: height and width in pixels of the images that positions are for, a multiple of 32.
        channels: of the images.
        projection_dim: width of the embedding.
        dtype: the computation's dtype; parameters and statistics are float32.
    """

    layers: tuple[int, ...] = (3, 4, 6, 3)
    width: int = 64
    head_dim: int = 64
    image_size: int = 224
    channels: int = 3
    projection_dim: int = 1024
    dtype: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self):
        if len(self.layers) != 4 or min(self.layers) < 1:
            raise ConfigError(f"model.resnet.layers is {self.layers}; it must be four numbers of blocks, each 1 or more.")
        if self.width < 2 or self.width % 2 or 32 * self.width % self.head_dim:
            raise ConfigError(
                f"model.resnet.width is {self.width}; it must be even, and 32 times it must divide by head_dim {self.head_dim}."
            )
        if self.image_size < 32 or self.image_size % 32:
            raise ConfigError(f"model.resnet.image_size is {self.image_size}; it must be a multiple of 32.")

    @property
    def features(self) -> int:
        """Channels of the last stage."""
        return 32 * self.width


class CLIPResNet(nn.Module):
    """Images to float32 embeddings, not normalized."""

    config: CLIPResNetConfig

    @nn.compact
    def __call__(
        self, images: Float[Array, "batch height width channels"], train: bool = False
    ) -> Float[Array, "batch embedding"]:
        """With `train`, normalization by the batch, and moving statistics to be updated (collection "batch_stats").

        Raises:
            ConfigError: images without `channels`, or smaller than 32 pixels.
        """
        c = self.config
        if images.shape[-1] != c.channels or min(images.shape[1:3]) < 32:
            raise ConfigError(
                f"images are {images.shape[1]}x{images.shape[2]} with {images.shape[3]} channels; the model reads {c.channels} "
                "channels and at least 32x32 pixels."
            )
        conv, norm = _layers(c.dtype, train)
        x = images.astype(jnp.dtype(c.dtype))
        for i, (width, stride) in enumerate([(c.width // 2, 2), (c.width // 2, 1), (c.width, 1)], start=1):
            x = nn.relu(norm(name=f"stem_norm_{i}")(conv(width, 3, stride, name=f"stem_conv_{i}")(x)))
        x = _blur(x, 2)
        for stage, blocks in enumerate(c.layers):
            for i in range(blocks):
                stride = 2 if stage and not i else 1
                x = Bottleneck(c.width * 2**stage, stride, c.dtype, name=f"stage_{stage}_block_{i}")(x, train)
        return AttentionPool(c, name="pool")(x)


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions of stride 1; average pooling makes the image smaller before the last one."""

    width: int
    stride: int
    dtype: str

    @nn.compact
    def __call__(self, x: Float[Array, "batch h w channels"], train: bool) -> Float[Array, "batch h2 w2 channels2"]:
        conv, norm = _layers(self.dtype, train)
        y = nn.relu(norm(name="norm_1")(conv(self.width, 1, name="conv_1")(x)))
        y = nn.relu(norm(name="norm_2")(conv(self.width, 3, name="conv_2")(y)))
        y = norm(name="norm_3", zero=True)(conv(4 * self.width, 1, name="conv_3")(_blur(y, self.stride)))
        if self.stride > 1 or x.shape[-1] != 4 * self.width:
            x = norm(name="shortcut_norm")(conv(4 * self.width, 1, name="shortcut_conv")(_blur(x, self.stride)))
        return nn.relu(y + x)


class AttentionPool(nn.Module):
    """The mean of all places attends to it and to them (Radford et al., 2021, section 2.4)."""

    config: CLIPResNetConfig

    @nn.compact
    def __call__(self, x: Float[Array, "batch h w channels"]) -> Float[Array, "batch embedding"]:
        c, (batch, height, width, features) = self.config, x.shape
        dtype, init = jnp.dtype(c.dtype), nn.initializers.normal(features**-0.5)
        side = c.image_size // 32
        table = self.param(
            "position_embed", nn.with_logical_partitioning(init, ("position", "embed")), (side**2 + 1, features), jnp.float32
        )
        x = x.reshape(batch, height * width, features)
        x = jnp.concatenate([x.mean(1, keepdims=True), x], axis=1)
        x = x + jnp.concatenate([table[:1], resize_positions(table[1:], (side, side), (height, width))]).astype(x.dtype)
        x = constrain(x, "activation_batch", None, "activation_embed")
        heads = (features // c.head_dim, c.head_dim)

        def project(name: str, y: Array) -> Array:
            return Projection(heads, ("embed", "heads", "head_dim"), kernel_init=init, dtype=dtype, name=name)(y)

        y = attention(project("query", x[:, :1]), project("key", x), project("value", x), causal=False)
        out = Projection(
            (c.projection_dim,),
            ("heads", "head_dim", None),
            input_axes=2,
            kernel_init=init,
            dtype=dtype,
            out_dtype=jnp.float32,
            name="out",
        )
        return out(y)[:, 0]


def _blur(x: Float[Array, "batch h w channels"], size: int) -> Float[Array, "batch h2 w2 channels"]:
    return nn.avg_pool(x, (size, size), (size, size)) if size > 1 else x


def _layers(dtype: str, train: bool):
    """Constructors of convolutions without bias, and of batch norms."""

    def conv(features: int, size: int, stride: int = 1, *, name: str) -> nn.Conv:
        init = nn.with_logical_partitioning(nn.initializers.he_normal(), (None, None, None, "embed"))
        pad = [(size // 2, size // 2)] * 2
        return nn.Conv(features, (size, size), stride, pad, use_bias=False, kernel_init=init, dtype=jnp.dtype(dtype), name=name)

    def norm(*, name: str, zero: bool = False) -> nn.BatchNorm:
        scale = nn.initializers.zeros if zero else nn.initializers.ones
        boxed = partial(nn.with_logical_partitioning, names=("norm",))
        # A block's last scale starts at 0: at first it passes its input on.
        return nn.BatchNorm(
            use_running_average=not train,
            momentum=0.9,
            epsilon=1e-5,
            dtype=jnp.dtype(dtype),
            scale_init=boxed(scale),
            bias_init=boxed(nn.initializers.zeros),
            name=name,
        )

    return conv, norm


def flops_per_image(config: CLIPResNetConfig) -> float:
    """Floating-point operations of training on one image of `image_size`, forward and backward: six for every multiplication
    of a convolution and of the pooling attention's kernels."""
    c, total = config, 0
    side = c.image_size // 2
    half = c.width // 2
    total += side**2 * 9 * (c.channels * half + half * half + half * c.width)
    side, inside = side // 2, c.width
    for stage, blocks in enumerate(c.layers):
        width = c.width * 2**stage
        for i in range(blocks):
            stride = 2 if stage and not i else 1
            total += side**2 * (inside * width + 9 * width**2)
            side //= stride
            total += side**2 * 4 * width**2
            if stride > 1 or inside != 4 * width:
                total += side**2 * inside * 4 * width
            inside = 4 * width
    places = side**2 + 1
    total += c.features**2 * (1 + 2 * places) + c.features * (2 * places + c.projection_dim)
    return 6.0 * total
