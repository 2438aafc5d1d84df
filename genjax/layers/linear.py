"""Linear projections over any number of feature axes."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Float

from genjax.parallel.rules import on_single_cpu

Initializer = Callable[..., Array]


def contract(x: Array, kernel: Array, axes: int = 1) -> Array:
    """Sums over the last `axes` dimensions of `x` and the first `axes` of `kernel`: [... I] x [I O] -> [... O], where I and O
    may be several dimensions each."""
    if on_single_cpu():
        return _contract_cpu(x, kernel, axes)
    return lax.dot_general(x, kernel, _dimensions(x.ndim, axes))


def _dimensions(ndim: int, axes: int):
    return ((tuple(range(ndim - axes, ndim)), tuple(range(axes))), ((), ()))


# XLA's CPU compiler fuses a transposed copy into the weight gradient that autodiff writes. Merging the dimensions first and
# contracting over the rows of both operands leaves one plain matrix product. Merging is only for a single device: on a
# mesh it would join dimensions that are sharded over different axes.
def _contract_cpu(x: Array, kernel: Array, axes: int) -> Array:
    leading, outer = x.shape[: x.ndim - axes], kernel.shape[axes:]
    inner = math.prod(kernel.shape[:axes])
    rows = x.reshape(-1, inner)
    return _matmul(rows, kernel.reshape(inner, -1)).reshape(*leading, *outer)


@jax.custom_vjp
def _matmul(x: Float[Array, "rows inner"], kernel: Float[Array, "inner outer"]) -> Float[Array, "rows outer"]:
    return x @ kernel


def _matmul_forward(x, kernel):
    return x @ kernel, (x, kernel)


def _matmul_backward(residuals, gradient):
    x, kernel = residuals
    x_gradient = lax.dot_general(gradient, kernel, (((1,), (1,)), ((), ())))
    kernel_gradient = lax.dot_general(x, gradient, (((0,), (0,)), ((), ())))
    return x_gradient, kernel_gradient


_matmul.defvjp(_matmul_forward, _matmul_backward)


class Projection(nn.Module):
    """`x · kernel + bias`, contracting the last `input_axes` dimensions of x.

    The kernel has its true shape, input axes then output axes ((embed, heads, head_dim) for queries), so that each axis
    can be sharded by its own name.

    Attributes:
        features: sizes of the output axes.
        kernel_axes: logical names of the kernel's axes, input axes first.
        input_axes: how many trailing axes of the input are contracted.
        use_bias: whether a bias of shape `features` is added.
        kernel_init: initializer of the kernel.
        dtype: the computation's dtype; parameters are float32.
    """

    features: tuple[int, ...]
    kernel_axes: tuple[str | None, ...]
    input_axes: int = 1
    use_bias: bool = True
    kernel_init: Initializer = nn.initializers.normal(0.02)
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        shape = (*x.shape[x.ndim - self.input_axes :], *self.features)
        kernel = self.param("kernel", nn.with_logical_partitioning(self.kernel_init, self.kernel_axes), shape, jnp.float32)
        y = contract(x.astype(self.dtype), kernel.astype(self.dtype), self.input_axes)
        if self.use_bias:
            # A bias as long as the residual stream is small and used everywhere: it is kept whole, like the norms.
            names = tuple("norm" if name == "embed" else name for name in self.kernel_axes[self.input_axes :])
            bias = self.param("bias", nn.with_logical_partitioning(nn.initializers.zeros, names), self.features, jnp.float32)
            y = y + bias.astype(self.dtype)
        return y
