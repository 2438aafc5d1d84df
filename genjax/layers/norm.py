"""Normalization over features, with float32 statistics."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Float

from genjax.errors import ConfigError
from genjax.layers.linear import Initializer
from genjax.parallel.rules import on_single_cpu


def layer_norm(
    x: Float[Array, "*lead features"],
    scale: Float[Array, "features"],
    bias: Float[Array, "features"] | None,
    epsilon: float,
) -> Float[Array, "*lead features"]:
    """Ba, Kiros and Hinton, 2016, equation 4: (x - mean) / sqrt(variance + epsilon) * scale + bias, in float32."""
    function = _layer_norm_cpu if on_single_cpu() else _layer_norm
    return function(x.astype(jnp.float32), scale, jnp.zeros_like(scale) if bias is None else bias, epsilon)


def _layer_norm(x, scale, bias, epsilon):
    return _layer_norm_forward(x, scale, bias, epsilon)[0]


def _layer_norm_forward(x, scale, bias, epsilon):
    mean = x.mean(-1, keepdims=True)
    inverse = lax.rsqrt(jnp.square(x - mean).mean(-1, keepdims=True) + epsilon)
    return (x - mean) * inverse * scale + bias, (x, scale, mean, inverse)


def _layer_norm_backward(epsilon, residuals, gradient):
    x, scale, mean, inverse = residuals
    # Without the barriers XLA's CPU compiler computes the two means anew for every element that needs them.
    gradient = lax.optimization_barrier(gradient)
    normalized = (x - mean) * inverse
    scaled = gradient * scale
    means = scaled.mean(-1, keepdims=True), (scaled * normalized).mean(-1, keepdims=True)
    first, second = lax.optimization_barrier(means)
    leading = tuple(range(x.ndim - 1))
    x_gradient = (scaled - first - normalized * second) * inverse
    return x_gradient, (gradient * normalized).sum(leading), gradient.sum(leading)


_layer_norm_cpu = jax.custom_vjp(_layer_norm, nondiff_argnums=(3,))
_layer_norm_cpu.defvjp(_layer_norm_forward, _layer_norm_backward)


def rms_norm(
    x: Float[Array, "*lead features"], scale: Float[Array, "features"], epsilon: float
) -> Float[Array, "*lead features"]:
    """Zhang and Sennrich, 2019: x / sqrt(mean(x²) + epsilon) * scale, in float32."""
    x = x.astype(jnp.float32)
    return x * lax.rsqrt(jnp.square(x).mean(-1, keepdims=True) + epsilon) * scale


def group_norm(
    x: Float[Array, "batch *places features"],
    scale: Float[Array, "features"],
    bias: Float[Array, "features"],
    groups: int,
    epsilon: float,
) -> Float[Array, "batch *places features"]:
    """Wu and He, 2018: each group of features of an example by its own mean and variance, in float32.

    Sums over places come first, feature by feature, and what is done to x is one scale and one shift for each feature: x is read
    in order, twice.
    """
    x = x.astype(jnp.float32)
    places = tuple(range(1, x.ndim - 1))
    count = x[0, ..., 0].size * (x.shape[-1] // groups)
    sums, squares = (value.sum(places).reshape(len(x), groups, -1).sum(-1) / count for value in (x, jnp.square(x)))
    inverse = lax.rsqrt(jnp.maximum(squares - jnp.square(sums), 0.0) + epsilon)
    over = lambda value: jnp.repeat(value, x.shape[-1] // groups, axis=1)  # noqa: E731
    factor = over(inverse) * scale
    shift = bias - over(sums) * factor
    factor, shift = (value.reshape(len(x), *[1] * len(places), -1) for value in lax.optimization_barrier((factor, shift)))
    return x * factor + shift


def scale_and_bias(
    module: nn.Module, width: int, scale_init: Initializer = nn.initializers.ones
) -> tuple[Float[Array, "width"], Float[Array, "width"]]:
    """A norm's two parameters, made where the module's __call__ asks for them."""
    init = [nn.with_logical_partitioning(of, ("norm",)) for of in (scale_init, nn.initializers.zeros)]
    return tuple(module.param(name, of, (width,), jnp.float32) for name, of in zip(("scale", "bias"), init, strict=True))


class GroupNorm(nn.Module):
    """GroupNorm over all places and the features of a group; statistics in float32, the result in `dtype`.

    Attributes:
        groups: of features; they must divide.
        epsilon: added to the variance.
        dtype: dtype of the result.
    """

    groups: int = 32
    epsilon: float = 1e-5
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "batch *places features"]) -> Float[Array, "batch *places features"]:
        scale, bias = scale_and_bias(self, x.shape[-1])
        return group_norm(x, scale, bias, self.groups, self.epsilon).astype(self.dtype)


class InstanceNorm(nn.Module):
    """Each feature of an example by its own mean and variance over places (Ulyanov et al., 2016): GroupNorm with groups of one.

    Attributes:
        epsilon: added to the variance.
        affine: whether a scale multiplies and a bias is added; not in torch's default.
        dtype: dtype of the result.
    """

    epsilon: float = 1e-5
    affine: bool = False
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "batch *places features"]) -> Float[Array, "batch *places features"]:
        """The normalized features.

        Raises:
            ConfigError: one place, at which every feature would become 0.
        """
        width = x.shape[-1]
        if x[0].size == width:
            raise ConfigError(f"features of shape {x.shape} have one place, and instance norm needs two: use larger images.")
        scale, bias = scale_and_bias(self, width) if self.affine else (jnp.ones(width), jnp.zeros(width))
        return group_norm(x, scale, bias, width, self.epsilon).astype(self.dtype)


class LayerNorm(nn.Module):
    """LayerNorm over the last axis; statistics in float32, the result in `dtype`.

    Attributes:
        epsilon: added to the variance (1e-5 in GPT-2 and torch, 1e-12 in BERT and ViT).
        use_bias: whether a bias is added.
        use_scale: whether a scale multiplies (DiT's condition does it instead).
        dtype: dtype of the result.
    """

    epsilon: float = 1e-5
    use_bias: bool = True
    use_scale: bool = True
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "*lead features"]) -> Float[Array, "*lead features"]:
        scale, bias = jnp.ones((x.shape[-1],), jnp.float32), None
        if self.use_scale:
            scale = self.param("scale", nn.with_logical_partitioning(nn.initializers.ones, ("norm",)), scale.shape, jnp.float32)
        if self.use_bias:
            bias = self.param("bias", nn.with_logical_partitioning(nn.initializers.zeros, ("norm",)), (x.shape[-1],), jnp.float32)
        return layer_norm(x, scale, bias, self.epsilon).astype(self.dtype)


class RMSNorm(nn.Module):
    """RMSNorm over the last axis; statistics in float32, the result in `dtype`."""

    epsilon: float = 1e-5
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "*lead features"]) -> Float[Array, "*lead features"]:
        scale = self.param("scale", nn.with_logical_partitioning(nn.initializers.ones, ("norm",)), (x.shape[-1],), jnp.float32)
        return rms_norm(x, scale, self.epsilon).astype(self.dtype)
