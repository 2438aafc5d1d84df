"""VGG features (Simonyan and Zisserman, 2015) for perceptual losses (Johnson et al., 2016), as torchvision has them."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from genjax.config import choose
from genjax.errors import ConfigError
from genjax.layers.conv import Conv
from genjax.models.checks import check_sizes

# Of colors in [0, 1], over ImageNet.
MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)
_CONVOLUTIONS = {16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}


@dataclass(frozen=True)
class VGGConfig:
    """Which features are wanted of which network.

    Attributes:
        depth: 16 or 19 (configurations D and E).
        layers: what is returned: "conv3_2", before its ReLU, or "relu3_2", behind it; the network ends at the deepest. ESRGAN
            takes conv5_4 of depth 19, SRGAN relu5_4, Johnson et al. relu1_2, relu2_2, relu3_3 and relu4_3 of depth 16.
        width: channels of the first layers.
        dtype: the computation's dtype; parameters and features are float32.
    """

    depth: Literal[16, 19] = 16
    layers: tuple[str, ...] = ("relu1_2", "relu2_2", "relu3_3", "relu4_3")
    width: int = 64
    dtype: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self):
        check_sizes(self, ("width",))
        if self.depth not in _CONVOLUTIONS:
            raise ConfigError(f"vgg.depth is {self.depth}; it must be 16 or 19.")
        known = {f"{kind}{layer.name}": layer for layer in every_layer(self.depth) for kind in ("conv", "relu")}
        for name in self.layers:
            choose(f"vgg.layers at depth {self.depth}:", name, known)
        if not self.layers:
            raise ConfigError("vgg.layers is empty; name the layers whose features are wanted, for example relu3_3.")


class Layer(NamedTuple):
    """A convolution.

    Attributes:
        name: "3_2": the second of the third block.
        widening: how many times `width` its features are.
        pooled: whether 2x2 places become one before it.
        index: in torchvision's `features`.
    """

    name: str
    widening: int
    pooled: bool
    index: int


def every_layer(depth: int) -> tuple[Layer, ...]:
    layers, index = [], 0
    for block, count in enumerate(_CONVOLUTIONS[depth]):
        for i in range(count):
            layers.append(Layer(f"{block + 1}_{i + 1}", min(2**block, 8), bool(block and not i), index))
            index += 2  # its ReLU
        index += 1  # the pool
    return tuple(layers)


def used_layers(config: VGGConfig) -> tuple[Layer, ...]:
    """The convolutions up to the deepest of `layers`."""
    layers = every_layer(config.depth)
    last = max(i for i, layer in enumerate(layers) if {f"conv{layer.name}", f"relu{layer.name}"} & {*config.layers})
    return layers[: last + 1]


class VGG(nn.Module):
    """Images to the features of the wanted layers."""

    config: VGGConfig

    @nn.compact
    def __call__(self, images: Float[Array, "batch height width 3"]) -> dict[str, Float[Array, "batch h w features"]]:
        """Float32 features by the layer's name.

        Args:
            images: colors in [-1, 1]; ImageNet's mean and deviation are taken out within.

        Raises:
            ConfigError: images of other than 3 channels, or too small for the layers.
        """
        c, layers = self.config, used_layers(self.config)
        if images.shape[-1] != 3:
            raise ConfigError(f"images have {images.shape[-1]} channels; VGG reads 3: repeat a grey one three times.")
        least = 2 ** sum(layer.pooled for layer in layers)
        if min(images.shape[1:3]) < least:
            raise ConfigError(
                f"images are {images.shape[1]}x{images.shape[2]}; conv{layers[-1].name} needs {least}x{least} or more."
            )
        x = ((images.astype(jnp.float32) + 1) / 2 - jnp.array(MEAN)) / jnp.array(DEVIATION)
        found = {}
        for layer in layers:
            x = nn.max_pool(x, (2, 2), (2, 2)) if layer.pooled else x
            x = Conv(layer.widening * c.width, dtype=jnp.dtype(c.dtype), name=f"conv{layer.name}")(x)
            found[f"conv{layer.name}"] = x
            x = found[f"relu{layer.name}"] = nn.relu(x)
        return {name: found[name].astype(jnp.float32) for name in c.layers}


def forward_flops(config: VGGConfig, image_size: int) -> float:
    """Floating-point operations of seeing one square image: two for every multiplication of a convolution."""
    total, before, side = 0, 3, image_size
    for layer in used_layers(config):
        side //= 1 + layer.pooled
        after = layer.widening * config.width
        total += side**2 * 9 * before * after
        before = after
    return 2.0 * total
