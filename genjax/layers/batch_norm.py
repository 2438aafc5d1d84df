"""Normalization by the statistics of a batch, and of all batches before it (Ioffe and Szegedy, 2015)."""

import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Float, Int

from genjax.errors import ConfigError
from genjax.layers.embedding import Embedding
from genjax.layers.linear import Initializer
from genjax.layers.norm import scale_and_bias

BATCH_STATS = "batch_stats"


class BatchNorm(nn.Module):
    """BatchNorm over the batch and all places; statistics in float32, the result in `dtype`. torch's conventions.

    While training, features are normalized by the mean and the biased variance of the whole batch: under jit that is the global
    batch, on all devices of the mesh (where others say synchronized batch norm). Each call then moves the variables "mean" and
    "var" of the collection "batch_stats": new = (1 - momentum) old + momentum batch, the variance unbiased. Where the caller
    does not make the collection mutable, they stay as they are.

    Attributes:
        momentum: the weight of the batch (torch's sense; others give 1 minus it).
        epsilon: added to the variance.
        affine: whether a scale multiplies and a bias is added.
        scale_init: initializer of the scale.
        dtype: dtype of the result.
    """

    momentum: float = 0.1
    epsilon: float = 1e-5
    affine: bool = True
    scale_init: Initializer = nn.initializers.ones
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "batch *places features"], train: bool) -> Float[Array, "batch *places features"]:
        """The normalized features.

        Args:
            train: normalize by the batch, and move the statistics; else by the statistics.

        Raises:
            ConfigError: one value of each feature, which has no variance, while training.
        """
        width = (x.shape[-1],)
        mean = self.variable(BATCH_STATS, "mean", jnp.zeros, width, jnp.float32)
        var = self.variable(BATCH_STATS, "var", jnp.ones, width, jnp.float32)
        x = x.astype(jnp.float32)
        center, spread = mean.value, var.value
        if train:
            center, spread = _moments(x, mean.value)
            count = x.size // x.shape[-1]
            if count < 2:
                raise ConfigError(
                    f"a batch of shape {x.shape} has one value of each feature, and batch norm while training needs two or more: "
                    "use larger batches or images."
                )
            if self.is_mutable_collection(BATCH_STATS) and not self.is_initializing():
                unbiased = spread * (count / (count - 1))
                mean.value = (1 - self.momentum) * mean.value + self.momentum * lax.stop_gradient(center)
                var.value = (1 - self.momentum) * var.value + self.momentum * lax.stop_gradient(unbiased)
        factor = lax.rsqrt(spread + self.epsilon)
        shift = -center * factor
        if self.affine:
            scale, bias = scale_and_bias(self, x.shape[-1], self.scale_init)
            factor, shift = factor * scale, shift * scale + bias
        return (x * factor + shift).astype(self.dtype)


def _moments(x: Float[Array, "batch *places features"], near: Float[Array, "features"]):
    """Mean and biased variance in one pass over x. Subtracting what is near the mean first keeps the digits of the variance."""
    axes = tuple(range(x.ndim - 1))
    moved = x - lax.stop_gradient(near)
    first, second = moved.mean(axes), jnp.square(moved).mean(axes)
    return first + near, jnp.maximum(second - jnp.square(first), 0.0)


class ConditionalBatchNorm(nn.Module):
    """BatchNorm whose scale and bias belong to the class of the example (Dumoulin et al., 2017, equation 5).

    Attributes:
        num_classes: rows of the two tables, which begin at 1 and 0.
        momentum, epsilon, dtype: as BatchNorm's.
    """

    num_classes: int
    momentum: float = 0.1
    epsilon: float = 1e-5
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch *places features"], classes: Int[Array, "batch"], train: bool
    ) -> Float[Array, "batch *places features"]:
        normalized = BatchNorm(self.momentum, self.epsilon, affine=False, name="norm")(x, train)
        scale, bias = (
            Embedding(self.num_classes, x.shape[-1], None, init, name=name)(classes)
            for name, init in (("scale", nn.initializers.ones), ("bias", nn.initializers.zeros))
        )
        rows = (len(x), *[1] * (x.ndim - 2), x.shape[-1])
        return (normalized * scale.reshape(rows) + bias.reshape(rows)).astype(self.dtype)
