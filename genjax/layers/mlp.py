"""The position-wise network of a transformer block."""

from collections.abc import Callable
from functools import partial
from types import MappingProxyType
from typing import Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from genjax.config import choose
from genjax.layers.linear import Initializer, Projection
from genjax.parallel.rules import constrain

Activation = Literal["gelu_tanh", "gelu", "quick_gelu", "relu", "silu"]

ACTIVATIONS: MappingProxyType[str, Callable[[Array], Array]] = MappingProxyType(
    {
        "gelu_tanh": partial(jax.nn.gelu, approximate=True),  # GPT-2
        "gelu": partial(jax.nn.gelu, approximate=False),  # erf: BERT, ViT
        "quick_gelu": lambda x: x * jax.nn.sigmoid(1.702 * x),  # OpenAI's CLIP
        "relu": jax.nn.relu,
        "silu": jax.nn.silu,
    }
)


class MLP(nn.Module):
    """down(activation(up(x))), or down(activation(gate(x)) * up(x)) when gated (Shazeer, 2020, equation 6; SwiGLU with silu).

    Attributes:
        hidden: width of the hidden layer.
        activation: a key of `ACTIVATIONS`.
        gated: whether a gate multiplies the hidden layer.
        use_bias: biases on all projections.
        kernel_init: initializer of up and gate.
        out_init: initializer of down, which writes into the residual stream.
        dtype: the computation's dtype.
    """

    hidden: int
    activation: Activation = "gelu_tanh"
    gated: bool = False
    use_bias: bool = True
    kernel_init: Initializer = nn.initializers.normal(0.02)
    out_init: Initializer = nn.initializers.normal(0.02)
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "batch length features"]) -> Float[Array, "batch length features"]:
        activation = choose("activation", self.activation, ACTIVATIONS)

        def project(name: str) -> Array:
            projection = Projection(
                (self.hidden,),
                ("embed", "mlp"),
                use_bias=self.use_bias,
                kernel_init=self.kernel_init,
                dtype=self.dtype,
                name=name,
            )
            return constrain(projection(x), "activation_batch", "activation_length", "activation_mlp")

        hidden = activation(project("gate")) * project("up") if self.gated else activation(project("up"))
        out = Projection(
            (x.shape[-1],), ("mlp", "embed"), use_bias=self.use_bias, kernel_init=self.out_init, dtype=self.dtype, name="down"
        )
        return out(hidden)
