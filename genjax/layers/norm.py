"""Normalization over features, with float32 statistics."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Float

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


class LayerNorm(nn.Module):
    """LayerNorm over the last axis; statistics in float32, the result in `dtype`.

    Attributes:
        epsilon: added to the variance (1e-5 in GPT-2 and torch, 1e-12 in BERT and ViT).
        use_bias: whether a bias is added.
        dtype: dtype of the result.
    """

    epsilon: float = 1e-5
    use_bias: bool = True
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "*lead features"]) -> Float[Array, "*lead features"]:
        scale = self.param("scale", nn.with_logical_partitioning(nn.initializers.ones, ("norm",)), (x.shape[-1],), jnp.float32)
        bias = None
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
