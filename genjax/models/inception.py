"""The Inception network of FID: Inception v3 (Szegedy et al., 2016) as TensorFlow's "inception-2015-12-05" computes it.

Every published FID, KID and Inception score was measured with this one network and its weights. It differs from Inception v3 as
other libraries have it: 1,008 classes, average pools that leave the padding out of the mean, and a maximum pool in the last
block. Names of blocks and branches are those of pytorch-fid's port (github.com/mseitzer/pytorch-fid), in lower case.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Float

from genjax.errors import ConfigError
from genjax.layers.linear import Initializer

SPATIAL_CHANNELS = 7  # of sFID (Nash et al., 2021)


@dataclass(frozen=True)
class InceptionConfig:
    """The defaults are the published network's.

    Attributes:
        width: channels of the first convolution; all others grow with it.
        num_classes: of the logits.
        image_size: height and width that images are resized to.
    """

    width: int = 32
    num_classes: int = 1008
    image_size: int = 299

    def __post_init__(self):
        if self.width < 2 or self.width % 2:
            raise ConfigError(f"inception.width is {self.width}; it must be a multiple of 2.")
        if self.image_size < 75:
            raise ConfigError(
                f"inception.image_size is {self.image_size}; it must be 75 or more for the last blocks to see any of it."
            )
        if self.num_classes < 1:
            raise ConfigError(f"inception.num_classes is {self.num_classes}; it must be 1 or more.")

    @property
    def features(self) -> int:
        """Width of the pooled features."""
        return 64 * self.width


class InceptionOutput(NamedTuple):
    """What the network says of images, in float32.

    Attributes:
        pool: the means over all places of the last block, for FID and KID.
        spatial: the first 7 channels of mixed_6d (TensorFlow's mixed_6/conv, after its ReLU), place by place: 7 * 17 * 17
            numbers at 299x299, for sFID (Nash et al., 2021; guided-diffusion's evaluator).
        logits: over classes.
        logits_without_bias: what the published Inception scores are made of (OpenAI's script multiplies by the kernel alone,
            and so do guided-diffusion's evaluator and torch-fidelity).
    """

    pool: Float[Array, "batch features"]
    spatial: Float[Array, "batch spatial"]
    logits: Float[Array, "batch classes"]
    logits_without_bias: Float[Array, "batch classes"]


class Conv(NamedTuple):
    """A convolution with its norm and ReLU; `size` is the kernel's height and width."""

    name: str
    features: int
    size: tuple[int, int] = (1, 1)
    stride: int = 1


Branch = tuple[Conv | tuple[Conv, Conv], ...]  # a pair stands at the end: both read the same, and are laid side by side
Pool = Literal["average", "maximum"]
_WIDE, _TALL = (1, 7), (7, 1)

# The blocks of Szegedy et al., 2016, figures 5 to 7 and 10, at width 32.
_A: tuple[Branch, ...] = (
    (Conv("branch1x1", 64),),
    (Conv("branch5x5_1", 48), Conv("branch5x5_2", 64, (5, 5))),
    (Conv("branch3x3dbl_1", 64), Conv("branch3x3dbl_2", 96, (3, 3)), Conv("branch3x3dbl_3", 96, (3, 3))),
)
_B: tuple[Branch, ...] = (
    (Conv("branch3x3", 384, (3, 3), 2),),
    (Conv("branch3x3dbl_1", 64), Conv("branch3x3dbl_2", 96, (3, 3)), Conv("branch3x3dbl_3", 96, (3, 3), 2)),
)
_D: tuple[Branch, ...] = (
    (Conv("branch3x3_1", 192), Conv("branch3x3_2", 320, (3, 3), 2)),
    (
        Conv("branch7x7x3_1", 192),
        Conv("branch7x7x3_2", 192, _WIDE),
        Conv("branch7x7x3_3", 192, _TALL),
        Conv("branch7x7x3_4", 192, (3, 3), 2),
    ),
)
_E: tuple[Branch, ...] = (
    (Conv("branch1x1", 320),),
    (Conv("branch3x3_1", 384), (Conv("branch3x3_2a", 384, (1, 3)), Conv("branch3x3_2b", 384, (3, 1)))),
    (
        Conv("branch3x3dbl_1", 448),
        Conv("branch3x3dbl_2", 384, (3, 3)),
        (Conv("branch3x3dbl_3a", 384, (1, 3)), Conv("branch3x3dbl_3b", 384, (3, 1))),
    ),
)


def _c(width: int) -> tuple[Branch, ...]:
    double = (width, _TALL), (width, _WIDE), (width, _TALL), (192, _WIDE)
    return (
        (Conv("branch1x1", 192),),
        (Conv("branch7x7_1", width), Conv("branch7x7_2", width, _WIDE), Conv("branch7x7_3", 192, _TALL)),
        (Conv("branch7x7dbl_1", width), *(Conv(f"branch7x7dbl_{i}", *given) for i, given in enumerate(double, start=2))),
    )


# name, convolutions, pool beside them, features of the convolution behind the pool (0: none, and the pool's stride is 2)
_BLOCKS: tuple[tuple[str, tuple[Branch, ...], Pool, int], ...] = (
    ("mixed_5b", _A, "average", 32),
    ("mixed_5c", _A, "average", 64),
    ("mixed_5d", _A, "average", 64),
    ("mixed_6a", _B, "maximum", 0),
    ("mixed_6b", _c(128), "average", 192),
    ("mixed_6c", _c(160), "average", 192),
    ("mixed_6d", _c(160), "average", 192),
    ("mixed_6e", _c(192), "average", 192),
    ("mixed_7a", _D, "maximum", 0),
    ("mixed_7b", _E, "average", 192),
    ("mixed_7c", _E, "maximum", 192),
)


class Inception(nn.Module):
    """Images to the features and logits that measures of generated images are made of; norms are frozen."""

    config: InceptionConfig = InceptionConfig()

    @nn.compact
    def __call__(self, images: Float[Array, "batch height width 3"]) -> InceptionOutput:
        """Everything that the network says.

        Args:
            images: in [0, 1], of any size. They are resized as pytorch-fid does it: bilinear, half-pixel centers, and no
                smoothing where they become smaller.

        Raises:
            ConfigError: images of other than 3 channels.
        """
        c = self.config
        if images.shape[-1] != 3:
            raise ConfigError(f"images have {images.shape[-1]} channels; Inception reads 3: repeat a grey one three times.")
        size = (len(images), c.image_size, c.image_size, 3)
        x = 2 * jax.image.resize(images.astype(jnp.float32), size, "bilinear", antialias=False) - 1

        def conv(name: str, features: int, size: int, stride: int = 1, pad: bool = False) -> ConvNorm:
            return ConvNorm(features * c.width // 32, (size, size), stride, pad, name=name)

        x = conv("conv2d_1a_3x3", 32, 3, stride=2)(x)
        x = conv("conv2d_2a_3x3", 32, 3)(x)
        x = conv("conv2d_2b_3x3", 64, 3, pad=True)(x)
        x = nn.max_pool(x, (3, 3), (2, 2))
        x = conv("conv2d_3b_1x1", 80, 1)(x)
        x = conv("conv2d_4a_3x3", 192, 3)(x)
        x = nn.max_pool(x, (3, 3), (2, 2))
        blocks = {}
        for name, branches, pool, features in _BLOCKS:
            x = blocks[name] = Mixed(branches, pool, features, c.width, name=name)(x)
        pooled = x.mean((1, 2))
        spatial = blocks["mixed_6d"][..., :SPATIAL_CHANNELS].reshape(len(x), -1)
        init = _boxed(nn.initializers.lecun_normal(), "embed", "vocab")
        logits = nn.Dense(c.num_classes, use_bias=False, kernel_init=init, precision=lax.Precision.HIGHEST, name="fc")(pooled)
        bias = self.param("fc_bias", _boxed(nn.initializers.zeros, "vocab"), (c.num_classes,), jnp.float32)
        return InceptionOutput(pooled, spatial, logits + bias, logits)


class Mixed(nn.Module):
    """Branches of convolutions and a pool, laid side by side.

    Attributes:
        branches: at width 32.
        pool: of 3x3 places.
        pool_features: of the 1x1 convolution behind the pool, at width 32; 0: none, and the pool's stride is 2.
        width: of the network.
    """

    branches: tuple[Branch, ...]
    pool: Pool
    pool_features: int
    width: int

    @nn.compact
    def __call__(self, x: Float[Array, "batch h w channels"]) -> Float[Array, "batch h2 w2 channels2"]:
        def apply(conv: Conv, x: Array) -> Array:
            features = conv.features * self.width // 32
            return ConvNorm(features, conv.size, conv.stride, pad=conv.stride == 1, name=conv.name)(x)

        results = []
        for branch in self.branches:
            y = [x]
            for step in branch:
                y = [apply(conv, y[0]) for conv in (step if isinstance(step[0], Conv) else (step,))]
            results += y
        if self.pool_features:
            y = _average(x) if self.pool == "average" else nn.max_pool(x, (3, 3), (1, 1), ((1, 1), (1, 1)))
            results.append(apply(Conv("branch_pool", self.pool_features), y))
        else:
            results.append(nn.max_pool(x, (3, 3), (2, 2)))
        return jnp.concatenate(results, axis=-1)


def _average(x: Float[Array, "batch h w channels"]) -> Float[Array, "batch h w channels"]:
    """The mean of the 3x3 places around each, of those that there are."""
    sums = lax.reduce_window(x, 0.0, lax.add, (1, 3, 3, 1), (1, 1, 1, 1), ((0, 0), (1, 1), (1, 1), (0, 0)))
    rows, columns = (np.full(size, 3.0) - (np.arange(size) == 0) - (np.arange(size) == size - 1) for size in x.shape[1:3])
    return sums / np.outer(rows, columns)[..., None].astype(np.float32)


class ConvNorm(nn.Module):
    """A convolution without bias, a frozen batch norm, ReLU.

    Attributes:
        features: channels of the result.
        size: height and width of the kernel.
        stride: places for each place of the result.
        pad: whether zeros around it keep the size at stride 1.
    """

    features: int
    size: tuple[int, int]
    stride: int = 1
    pad: bool = True

    @nn.compact
    def __call__(self, x: Float[Array, "batch h w channels"]) -> Float[Array, "batch h2 w2 features"]:
        x = nn.Conv(
            self.features,
            self.size,
            self.stride,
            [(size // 2 * self.pad,) * 2 for size in self.size],
            use_bias=False,
            kernel_init=_boxed(nn.initializers.he_normal(), None, None, "embed", "mlp"),
            # Figures are compared between machines: no TF32, no bfloat16 passes.
            precision=lax.Precision.HIGHEST,
            name="conv",
        )(x)
        norm = nn.BatchNorm(
            use_running_average=True,
            epsilon=1e-3,
            scale_init=_boxed(nn.initializers.ones, "norm"),
            bias_init=_boxed(nn.initializers.zeros, "norm"),
            name="bn",
        )
        return nn.relu(norm(x))


def _boxed(init: Initializer, *names: str | None) -> Initializer:
    return nn.with_logical_partitioning(init, names)
