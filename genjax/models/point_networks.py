"""Fully connected players of a GAN over points: enough for mixtures of Gaussians, and small enough to try what a setting does."""

from dataclasses import dataclass

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int

from genjax.errors import ConfigError
from genjax.layers.embedding import Embedding
from genjax.layers.linear import Projection
from genjax.models.checks import check_sizes


@dataclass(frozen=True)
class PointGANConfig:
    """Both players.

    Attributes:
        features: numbers of a point.
        latent: numbers that a point is made from.
        widths: of the hidden layers of both.
        num_classes: that both are told; 0: none.
    """

    features: int = 2
    latent: int = 2
    widths: tuple[int, ...] = (128, 128, 128)
    num_classes: int = 0
    dtype: str = "float32"

    def __post_init__(self):
        check_sizes(self, ("features", "latent"), ("num_classes",))
        if not self.widths or min(self.widths) < 1:
            raise ConfigError(f"model.widths is {self.widths}; name the width of each hidden layer, at least one.")


class PointGenerator(nn.Module):
    """From a latent vector to a point."""

    config: PointGANConfig

    @nn.compact
    def __call__(
        self, z: Float[Array, "batch latent"], classes: Int[Array, "batch"] | None = None, train: bool = False
    ) -> Float[Array, "batch features"]:
        """`train` changes nothing: no layer looks at the batch."""
        return _layers(self.config, z, classes, self.config.features)


class PointCritic(nn.Module):
    """From a point to a logit."""

    config: PointGANConfig

    @nn.compact
    def __call__(
        self, points: Float[Array, "batch features"], classes: Int[Array, "batch"] | None = None, train: bool = False
    ) -> Float[Array, "batch"]:
        """`train` changes nothing: no layer looks at the batch."""
        return _layers(self.config, points, classes, 1)[:, 0]


def _layers(c: PointGANConfig, x: Array, classes: Array | None, outputs: int) -> Array:
    """Hidden layers with ReLU, and a last one without; within a compact method."""
    init = nn.initializers.he_normal()
    if c.num_classes:
        told = Embedding(c.num_classes, c.widths[0], None, nn.initializers.normal(1.0), name="classes")(classes)
        x = jnp.concatenate([x, told], axis=-1)
    for index, width in enumerate(c.widths):
        layer = Projection((width,), ("embed", "mlp"), kernel_init=init, dtype=jnp.dtype(c.dtype), name=f"hidden_{index}")
        x = nn.relu(layer(x))
    return Projection((outputs,), ("embed", None), kernel_init=init, out_dtype=jnp.float32, name="out")(x)


def forward_flops(config: PointGANConfig) -> tuple[float, float]:
    """Of generator and critic for one point: two for every multiplication."""
    told = config.widths[0] if config.num_classes else 0
    sides = ((config.latent, config.features), (config.features, 1))
    chains = [(first + told, *config.widths, last) for first, last in sides]
    return tuple(2.0 * sum(a * b for a, b in zip(chain, chain[1:], strict=False)) for chain in chains)
