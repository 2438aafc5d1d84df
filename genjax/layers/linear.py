"""Linear projections over any number of feature axes."""

import math
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Float

from genjax.parallel.rules import on_single_cpu

Initializer = Callable[..., Array]

PRODUCT = "projection_product"

# An optional collection of variables: second copies of kernels, [outputs inputs], and of embeddings, [features count]. A product
# of one row and a matrix streams [outputs inputs] a quarter faster through a CPU, one of several rows [inputs outputs].
TRANSPOSED = "transposed"


def contract(
    x: Float[Array, "..."],
    kernel: Float[Array, "..."],
    axes: int = 1,
    *,
    transposed: bool = False,
    out_dtype: jnp.dtype | None = None,
) -> Float[Array, "..."]:
    """Sums over the last `axes` dimensions of `x` and the first `axes` of `kernel`: [... I] x [I O] -> [... O], where I and O
    may be several dimensions each.

    Args:
        transposed: sum over the last dimensions of the kernel instead: [... I] x [O I] -> [... O].
        out_dtype: dtype of the result, x's by default. Products are summed in float32 in any case.
    """
    out_dtype = out_dtype or x.dtype
    if not on_single_cpu():
        first = kernel.ndim - axes if transposed else 0
        dimensions = (tuple(range(x.ndim - axes, x.ndim)), tuple(range(first, first + axes)))
        return lax.dot_general(x, kernel, (dimensions, ((), ())), preferred_element_type=out_dtype)
    # One matrix product. Only for a single device: on a mesh this would join dimensions that are sharded over different axes.
    leading, outer = x.shape[: x.ndim - axes], kernel.shape[: kernel.ndim - axes] if transposed else kernel.shape[axes:]
    inner = math.prod(x.shape[x.ndim - axes :])
    matrix = kernel.reshape((-1, inner) if transposed else (inner, -1))
    # Remat policies do not see into a function with its own gradient, so the product bears a name.
    y = checkpoint_name(_product(x.reshape(-1, inner), matrix, transposed, out_dtype), PRODUCT)
    return y.reshape(*leading, *outer)


# Autodiff writes the weight gradient as a product followed by a transpose, which XLA's CPU compiler fuses into a slow copy. This
# one contracts over the rows of both operands and leaves plain matrix products. The barrier keeps what computes the gradient
# from being fused into, and computed again for, both products.
@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _product(
    x: Float[Array, "rows inner"], kernel: Float[Array, "m n"], transposed: bool, out_dtype
) -> Float[Array, "rows outer"]:
    return lax.dot_general(x, kernel, (((1,), (int(transposed),)), ((), ())), preferred_element_type=out_dtype)


def _product_forward(x, kernel, transposed, out_dtype):
    return _product(x, kernel, transposed, out_dtype), (x, kernel)


def _product_backward(transposed, out_dtype, residuals, gradient):
    x, kernel = residuals
    gradient = lax.optimization_barrier(gradient.astype(x.dtype))
    x_gradient = lax.dot_general(gradient, kernel, (((1,), (int(not transposed),)), ((), ())))
    first, second = (gradient, x) if transposed else (x, gradient)
    return x_gradient, lax.dot_general(first, second, (((0,), (0,)), ((), ())))


_product.defvjp(_product_forward, _product_backward)


def uniform_init(variance: float) -> Initializer:
    """Uniform around 0. What says a variance by itself: `variance_scaling` counts an output axis (heads) among the inputs."""
    bound = math.sqrt(3 * variance)
    return lambda key, shape, dtype=jnp.float32: jax.random.uniform(key, shape, dtype, -bound, bound)


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
        out_dtype: dtype of the result, `dtype` by default.
    """

    features: tuple[int, ...]
    kernel_axes: tuple[str | None, ...]
    input_axes: int = 1
    use_bias: bool = True
    kernel_init: Initializer = nn.initializers.normal(0.02)
    dtype: jnp.dtype = jnp.float32
    out_dtype: jnp.dtype | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "..."], outputs: slice = slice(None)) -> Float[Array, "..."]:
        """With `outputs`, where the features are one axis, those alone."""
        return self.project(x, self.make_kernel(x), outputs)

    def make_kernel(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        init = nn.with_logical_partitioning(self.kernel_init, self.kernel_axes)
        return self.param("kernel", init, (*x.shape[x.ndim - self.input_axes :], *self.features), jnp.float32)

    def project(self, x: Float[Array, "..."], kernel: Float[Array, "..."], outputs: slice = slice(None)) -> Float[Array, "..."]:
        leading = x.shape[: x.ndim - self.input_axes]
        transposed = math.prod(leading) == 1 and self.has_variable(TRANSPOSED, "kernel")
        if transposed:
            kernel = self.get_variable(TRANSPOSED, "kernel")
        kernel = kernel[outputs] if transposed else kernel[..., outputs]
        y = contract(
            x.astype(self.dtype), kernel.astype(self.dtype), self.input_axes, transposed=transposed, out_dtype=self.out_dtype
        )
        if self.use_bias:
            # A bias as long as the residual stream is small and used everywhere: it is kept whole, like the norms.
            names = tuple("norm" if name == "embed" else name for name in self.kernel_axes[self.input_axes :])
            bias = self.param("bias", nn.with_logical_partitioning(nn.initializers.zeros, names), self.features, jnp.float32)
            y = y + bias[..., outputs].astype(y.dtype)
        return y
