"""The networks of spectral normalization and of WGAN-GP: residual or plain convolutional players, with or without classes.

Miyato et al., 2018 (tables 3 and 4); Gulrajani et al., 2017 (appendix F: the same residual players, whose critic has layer norm
or none); classes as Miyato and Koyama, 2018: conditional batch norm, and a critic that projects on the class's vector.
"""

from dataclasses import dataclass
from typing import Literal

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int

from genjax.errors import ConfigError
from genjax.layers.batch_norm import BatchNorm, ConditionalBatchNorm
from genjax.layers.conv import Conv, average_pool, enlarge
from genjax.layers.conv_transpose import ConvTranspose
from genjax.layers.linear import Projection
from genjax.layers.spectral_norm import SpectralProjection
from genjax.models.checks import check_sizes
from genjax.models.gan_layers import (
    check_classes,
    check_images,
    judging_conv,
    judging_rows,
    normalize,
)

START = 4  # places along each axis where the generator begins

_INIT = nn.initializers.variance_scaling(1.0, "fan_avg", "uniform")
_INNER = nn.initializers.variance_scaling(2.0, "fan_avg", "uniform")  # of convolutions before a ReLU


@dataclass(frozen=True)
class SNGANConfig:
    """Both players. The sizes that were published are in `sngan_sizes.py`.

    Attributes:
        network: residual blocks (table 4), or plain convolutions (table 3).
        channels: of an image.
        latent: numbers that an image is made from.
        widths: of the generator, at 4x4 and after each doubling.
        critic_widths: of each residual block, of which the first `halvings` halve; or of the plain convolutions at the image's
            size and after each halving.
        halvings: resnet: of the critic.
        critic_norm: of the critic; layer norm is over all places and features.
        pooling: resnet: of the critic's last features over all places.
        num_classes: that both are told; 0: none.
    """

    network: Literal["resnet", "cnn"] = "resnet"
    channels: int = 3
    latent: int = 128
    widths: tuple[int, ...] = (256, 256, 256, 256)
    critic_widths: tuple[int, ...] = (128, 128, 128, 128)
    halvings: int = 2
    critic_norm: Literal["spectral", "layer", "none"] = "spectral"
    pooling: Literal["sum", "mean"] = "sum"
    num_classes: int = 0
    dtype: str = "float32"

    def __post_init__(self):
        check_sizes(self, ("channels", "latent", "halvings"), ("num_classes",))
        for name in ("widths", "critic_widths"):
            if not getattr(self, name) or min(getattr(self, name)) < 1:
                raise ConfigError(f"model.{name} is {getattr(self, name)}; name the width of each level, at least one.")
        if self.network == "resnet" and not 1 <= self.halvings <= min(len(self.critic_widths), len(self.widths) + 1):
            raise ConfigError(
                f"model.halvings is {self.halvings}; it must be at least 1 and at most the number of model.critic_widths, and "
                f"images of {self.image_size} pixels must have so many halves."
            )
        if self.network == "cnn" and len(self.critic_widths) != len(self.widths):
            raise ConfigError(
                f"model.critic_widths has {len(self.critic_widths)} levels and model.widths {len(self.widths)}; plain "
                "convolutions go back to 4x4, give as many."
            )

    @property
    def image_size(self) -> int:
        """Height and width of the images."""
        return START * 2 ** (len(self.widths) - 1)


class SNGANGenerator(nn.Module):
    """From a latent vector to an image in [-1, 1]."""

    config: SNGANConfig

    @nn.compact
    def __call__(
        self, z: Float[Array, "batch latent"], classes: Int[Array, "batch"] | None = None, train: bool = False
    ) -> Float[Array, "batch height width channels"]:
        c, dtype = self.config, jnp.dtype(self.config.dtype)
        check_classes(classes, c.num_classes)
        x = Projection((START * START * c.widths[0],), ("embed", "mlp"), kernel_init=_INIT, dtype=dtype, name="start")(z)
        x = x.reshape(len(z), START, START, c.widths[0])

        def normed(x: Array, name: str) -> Array:
            if c.num_classes:
                return nn.relu(ConditionalBatchNorm(c.num_classes, dtype=dtype, name=name)(x, classes, train))
            return nn.relu(BatchNorm(dtype=dtype, name=name)(x, train))

        for level, width in enumerate(c.widths[1:]):
            if c.network == "cnn":
                deconv = ConvTranspose(width, kernel_init=_INNER, use_bias=False, dtype=dtype, name=f"deconv_{level}")
                x = deconv(normed(x, f"norm_{level}"))
                continue
            conv = lambda name, init=_INNER, size=3, width=width: Conv(width, size, kernel_init=init, dtype=dtype, name=name)  # noqa: E731
            y = conv(f"conv_{level}_1")(enlarge(normed(x, f"norm_{level}_1")))
            y = conv(f"conv_{level}_2")(normed(y, f"norm_{level}_2"))
            x = y + enlarge(conv(f"shortcut_{level}", _INIT, 1)(x))  # a convolution over one place commutes with enlarging
        y = Conv(c.channels, kernel_init=_INIT, name="out")(normed(x, "norm_out"))
        return jnp.tanh(y.astype(jnp.float32))


class SNGANCritic(nn.Module):
    """From an image to one logit."""

    config: SNGANConfig

    @nn.compact
    def __call__(
        self,
        images: Float[Array, "batch height width channels"],
        classes: Int[Array, "batch"] | None = None,
        train: bool = False,
    ) -> Float[Array, "batch"]:
        c = self.config
        check_images(images, c.channels, size=c.image_size)
        check_classes(classes, c.num_classes)
        x = images.astype(jnp.dtype(c.dtype))
        features = (self._residual if c.network == "resnet" else self._plain)(x, train).astype(jnp.float32)
        last = {"features": (1,), "kernel_axes": ("embed", None), "kernel_init": _INIT, "name": "out"}
        spectral = c.critic_norm == "spectral"
        logits = (SpectralProjection(**last)(features, train) if spectral else Projection(**last)(features))[:, 0]
        if not c.num_classes:
            return logits
        # Miyato and Koyama, 2018, equation 4: how well the features go with the class.
        rows = judging_rows(c.critic_norm, classes, c.num_classes, features.shape[-1], train, "classes")
        return logits + (rows * features).sum(-1)

    def _conv(self, x: Array, train: bool, features: int, size: int, name: str, init=_INNER, **options) -> Array:
        options |= {"size": size, "kernel_init": init, "dtype": self.config.dtype, "name": name}
        return judging_conv(self.config.critic_norm, x, features, train, **options)

    def _norm(self, x: Array, name: str) -> Array:
        return normalize(self.config.critic_norm, x, False, self.config.dtype, name)

    def _residual(self, x: Array, train: bool) -> Array:
        c = self.config
        for index, width in enumerate(c.critic_widths):
            halved = index < c.halvings
            y = x if index == 0 else nn.relu(self._norm(x, f"norm_{index}_1"))
            y = nn.relu(self._norm(self._conv(y, train, width, 3, f"conv_{index}_1"), f"norm_{index}_2"))
            y = self._conv(y, train, width, 3, f"conv_{index}_2")
            if halved:
                y, x = average_pool(y), average_pool(x)  # the shortcut's convolution is over one place: pooling may come first
            if halved or width != x.shape[-1]:
                x = self._conv(x, train, width, 1, f"shortcut_{index}", _INIT)
            x = x + y
        x = nn.relu(self._norm(x, "norm_out"))
        return x.sum((1, 2)) if c.pooling == "sum" else x.mean((1, 2))

    def _plain(self, x: Array, train: bool) -> Array:
        c = self.config
        for level, width in enumerate(c.critic_widths):
            if level:
                x = self._conv(x, train, c.critic_widths[level - 1], 4, f"halve_{level}", stride=2, padding=(1, 1))
                x = nn.leaky_relu(self._norm(x, f"norm_halve_{level}"), 0.1)
            x = nn.leaky_relu(self._norm(self._conv(x, train, width, 3, f"conv_{level}"), f"norm_{level}"), 0.1)
        return x.reshape(len(x), -1)


def forward_flops(config: SNGANConfig) -> tuple[float, float]:
    """Of generator and critic for one image: two for every multiplication of convolutions and projections."""
    c = config
    generator = c.latent * START * START * c.widths[0]
    size = START
    for before, width in zip(c.widths, c.widths[1:], strict=False):
        size *= 2
        if c.network == "cnn":
            generator += 16 * before * width * (size // 2) ** 2
        else:
            generator += (9 * (before + width) + before / 4) * width * size**2
    generator += 9 * c.widths[-1] * c.channels * size**2
    critic, before = 0.0, c.channels
    for index, width in enumerate(c.critic_widths):
        if c.network == "cnn":
            if index:
                size //= 2
                critic += 16 * before * c.critic_widths[index - 1] * size**2
                before = c.critic_widths[index - 1]
            critic += 9 * before * width * size**2
        else:
            critic += 9 * (before + width) * width * size**2
            halved = index < c.halvings
            size //= 1 + halved
            critic += before * width * size**2 * (halved or before != width)
        before = width
    return 2.0 * generator, 2.0 * (critic + before * (size**2 if c.network == "cnn" else 1))
