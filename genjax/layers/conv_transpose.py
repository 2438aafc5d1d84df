"""Transposed convolutions, as torch counts their padding."""

from functools import partial

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Float

from genjax.layers.conv import add_bias, held_to_batch, layout
from genjax.layers.linear import Initializer, contract

# As torch's transposed convolutions begin: torch takes the channels of the result for the fan-in.
TORCH_TRANSPOSED_INIT = nn.initializers.variance_scaling(1 / 3, "fan_out", "uniform")


class ConvTranspose(nn.Module):
    """The gradient of a convolution of the same size, stride and padding: n places become
    (n - 1) stride - 2 padding + size + output_padding (torch's ConvTranspose1d to 3d).

    Each place of x adds x · kernel[i] at place `stride` n + i - `padding` of the result: the kernel is not turned around.

    Attributes:
        features: channels of the result.
        size: of the kernel, along each axis.
        stride: places of the result for each place.
        padding: places that are cut from each end of the result.
        output_padding: places more at the end of the result, less than `stride`.
        use_bias: whether a bias is added.
        kernel_init: initializer of the kernel, [*size channels features].
        dtype: the computation's dtype; parameters are float32.
    """

    features: int
    size: int = 4
    stride: int = 2
    padding: int = 1
    output_padding: int = 0
    use_bias: bool = True
    kernel_init: Initializer = TORCH_TRANSPOSED_INIT
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "batch *places channels"]) -> Float[Array, "batch *new_places features"]:
        axes = x.ndim - 2
        init = nn.with_logical_partitioning(self.kernel_init, (*[None] * axes, "embed", "mlp"))
        kernel = self.param("kernel", init, (*[self.size] * axes, x.shape[-1], self.features), jnp.float32)
        x, kernel = held_to_batch(x.astype(self.dtype)), kernel.astype(self.dtype)
        if x[0].size == x.shape[-1] and not self.padding and not self.output_padding:
            # Of one place, where a convolution would multiply its padding for the most part: one product.
            y = contract(x.reshape(len(x), -1), jnp.moveaxis(kernel, -2, 0))
        else:
            y = _transposed(x, kernel, self.stride, self.padding, self.output_padding)
        return held_to_batch(add_bias(self, y))


# Autodiff would take the kernel's gradient from a convolution of x, zeros laid between its places, by a kernel as large as the
# result: 14 times slower on CPU, all told. Here the three computations are those of the convolution that this one transposes.
@partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _transposed(x, kernel, stride, padding, output_padding):
    places = [(n - 1) * stride - 2 * padding + kernel.shape[0] + output_padding for n in x.shape[1:-1]]
    target = jax.ShapeDtypeStruct((len(x), *places, kernel.shape[-1]), x.dtype)
    return jax.linear_transpose(lambda y: _convolved(y, kernel, stride, padding), target)(x)[0]


def _transposed_forward(x, kernel, stride, padding, output_padding):
    return _transposed(x, kernel, stride, padding, output_padding), (x, kernel)


def _transposed_backward(stride, padding, output_padding, residuals, gradient):
    x, kernel = residuals
    (kernel_gradient,) = jax.linear_transpose(lambda kernel: _convolved(gradient, kernel, stride, padding), kernel)(x)
    return _convolved(gradient, kernel, stride, padding), kernel_gradient


_transposed.defvjp(_transposed_forward, _transposed_backward)


def _convolved(
    y: Float[Array, "batch *new_places features"], kernel: Float[Array, "*size channels features"], stride: int, padding: int
) -> Float[Array, "batch *places channels"]:
    axes = y.ndim - 2
    last, size, _ = layout(axes)
    numbers = (last, size.replace("IO", "OI"), last)
    return lax.conv_general_dilated(y, kernel, [stride] * axes, [(padding, padding)] * axes, dimension_numbers=numbers)
