"""The discriminators of pix2pix and CycleGAN: a logit for each overlapping patch (Isola et al., 2017, section 3.2.2).

A condition comes as more channels of the image: the caller lays them side by side.
"""

from dataclasses import dataclass
from typing import Literal

from flax import linen as nn
from jaxtyping import Array, Float

from genjax.errors import ConfigError
from genjax.models.checks import check_sizes
from genjax.models.gan_layers import check_classes, check_images, judging_conv, leaky, normalize


@dataclass(frozen=True)
class PatchGANConfig:
    """The defaults are CycleGAN's 70x70 discriminator: 2,764,737 parameters.

    Attributes:
        channels: of the image and its condition together (6 in pix2pix).
        width: channels behind the first layer; doubled by each further one, up to 8 times.
        layers: convolutions of stride 2: patches of 16, 34, 70, 142 pixels for 1 to 4; 0 for pixels, judged one by one.
        norm: behind all convolutions but the first and the last; "spectral": of all kernels.
        dtype: the computation's dtype; parameters and the last convolution are float32.
    """

    channels: int = 3
    width: int = 64
    layers: int = 3
    norm: Literal["batch", "instance", "spectral", "none"] = "instance"
    dtype: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self):
        check_sizes(self, ("channels", "width"), ("layers",))

    @property
    def patch(self) -> int:
        """Height and width in pixels of what a logit sees."""
        seen = 1
        for _, size, stride in reversed(convolutions(self)):
            seen = (seen - 1) * stride + size
        return seen


def convolutions(config: PatchGANConfig) -> tuple[tuple[int, int, int], ...]:
    """(features, size, stride) of every convolution; all are padded by one but those of size 1."""
    c = config
    if not c.layers:
        return ((c.width, 1, 1), (2 * c.width, 1, 1), (1, 1, 1))
    widths = [c.width * min(2**i, 8) for i in range(c.layers + 1)]
    return (*((width, 4, 2) for width in widths[:-1]), (widths[-1], 4, 1), (1, 4, 1))


def has_bias(config: PatchGANConfig, number: int) -> bool:
    """Whether a convolution has a bias: a batch norm behind it brings its own. In the public code the last one of the pixel
    discriminator goes without, too."""
    last = len(convolutions(config)) - 1
    return config.norm != "batch" or number == 0 or (number == last and config.layers > 0)


class PatchGAN(nn.Module):
    """Images in [-1, 1] to logits of patches."""

    config: PatchGANConfig

    @nn.compact
    def __call__(
        self,
        images: Float[Array, "batch height width channels"],
        classes: None = None,
        train: bool = False,
        features: bool = False,
    ) -> Float[Array, "batch rows columns"] | tuple[Array, tuple[Array, ...]]:
        """Float32 logits, before any sigmoid: at 256x256 pixels and three layers, 30x30. With `features`, beside them what each
        layer but the last makes, behind norm and activation: [batch, rows, columns, features].

        Args:
            classes: there are none; they are here for the call that all discriminators share.
            train: normalize by the batch and move the statistics ("batch_stats"), or take a power iteration ("spectral").

        Raises:
            ConfigError: images of other channels or too small to have a logit, or classes.
        """
        c = self.config
        check_images(images, c.channels)
        check_classes(classes, 0)
        if not sides(c, min(images.shape[1:3]))[-1]:
            raise ConfigError(
                f"images of {images.shape[1]}x{images.shape[2]} pixels are too small for {c.layers} layers; use larger ones, or "
                "fewer model.layers."
            )
        x, layers, seen = images, convolutions(c), []
        for i, (width, size, stride) in enumerate(layers):
            padding, last = (1, 1) if size > 1 else (0, 0), i == len(layers) - 1
            options = {"size": size, "stride": stride, "padding": padding, "use_bias": has_bias(c, i)}
            options["dtype"] = "float32" if last else c.dtype
            x = judging_conv(c.norm, x, width, train, **options, name=f"conv_{i}")
            if not last:
                x = leaky(normalize(c.norm if i else "none", x, train, c.dtype, f"norm_{i}"))
                seen.append(x)
        return (x[..., 0], tuple(seen)) if features else x[..., 0]


def sides(config: PatchGANConfig, image_size: int) -> tuple[int, ...]:
    """Places along one side behind every convolution; 0 from where the image is too small."""
    found, side = [], image_size
    for _, size, stride in convolutions(config):
        side = max(0, side + 2 * (size > 1) - size + stride) // stride
        found.append(side)
    return tuple(found)


def forward_flops(config: PatchGANConfig, image_size: int) -> float:
    """Floating-point operations of judging one square image: two for every multiplication of a convolution."""
    total, before = 0, config.channels
    for (features, size, _), side in zip(convolutions(config), sides(config, image_size), strict=True):
        total += side**2 * size**2 * before * features
        before = features
    return 2.0 * total
