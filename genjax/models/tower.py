"""What the towers of contrastive models share: the hyper-parameters of a stack, and embeddings of length 1, their scale."""

from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from genjax.layers.attention import Implementation
from genjax.layers.mlp import Activation
from genjax.models.checks import check_sizes
from genjax.models.transformer import BlockConfig, Remat, StackConfig


@dataclass(frozen=True)
class TowerConfig(StackConfig):
    """A pre-norm stack and the projection that follows it.

    Attributes:
        num_layers, num_heads, embed_dim: depth, heads, width of the residual stream.
        mlp_dim: width of the MLP's hidden layer; 0 for 4 * embed_dim.
        activation, norm_epsilon: see `BlockConfig`.
        projection_dim: width of the embedding; 0 for none: the pooled features themselves.
        scan_layers, remat, dtype, attention: as in `GPTConfig`.
    """

    num_layers: int = 12
    num_heads: int = 12
    embed_dim: int = 768
    mlp_dim: int = 0
    activation: Activation = "quick_gelu"
    norm_epsilon: float = 1e-5
    projection_dim: int = 512
    scan_layers: bool = False
    remat: Remat = "none"
    dtype: Literal["float32", "bfloat16"] = "float32"
    attention: Implementation = "auto"

    def __post_init__(self):
        check_sizes(self, ("num_layers", "num_heads", "embed_dim"), ("mlp_dim", "projection_dim"))

    def block(self, causal: bool) -> BlockConfig:
        """The hyper-parameters of each block, initialized as OpenAI's CLIP does it: width ** -0.5, and less by
        (2 * layers) ** 0.5 where a kernel writes into the residual stream."""
        return self._block(
            causal=causal, init_std=self.embed_dim**-0.5, residual_std=self.embed_dim**-0.5 * (2 * self.num_layers) ** -0.5
        )


def normalized(x: Float[Array, "*lead features"]) -> Float[Array, "*lead features"]:
    """x / |x| in float32, and 0 where x is 0."""
    x = x.astype(jnp.float32)
    return x * lax.rsqrt(jnp.maximum(jnp.sum(jnp.square(x), -1, keepdims=True), 1e-24))


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def limited(log_scale: Float[Array, ""], maximum: float) -> Float[Array, ""]:
    """min(log_scale, maximum), whose gradient above the maximum is 0 only where descent would raise the parameter further: one
    that has overshot can come back."""
    return jnp.minimum(log_scale, maximum)


def _limited_forward(log_scale, maximum):
    return limited(log_scale, maximum), log_scale


def _limited_backward(maximum, log_scale, gradient):
    return (jnp.where((log_scale <= maximum) | (gradient > 0), gradient, 0.0),)


limited.defvjp(_limited_forward, _limited_backward)


class Matched(NamedTuple):
    """Embeddings of length 1 and what turns their cosines into logits: scale * cosine + bias."""

    images: Float[Array, "images embedding"]
    texts: Float[Array, "texts embedding"]
    log_scale: Float[Array, ""]
    bias: Float[Array, ""]

    def logits(self) -> Float[Array, "images texts"]:
        """Every image against every text."""
        cosines = jnp.einsum("id,td->it", self.images, self.texts, precision="highest")
        return jnp.exp(self.log_scale) * cosines + self.bias


def tower_flops(config: TowerConfig, tokens: int) -> float:
    """Floating-point operations of training the blocks and the projection of a tower on one row of `tokens`, forward and
    backward; embeddings of patches not counted. As `models.vit.flops_per_image`, causal attention in full: the rows are short.
    """
    width = config.embed_dim
    block = 4 * width**2 + 2 * width * config.hidden_width
    projection = width * config.projection_dim
    return 6.0 * (tokens * config.num_layers * block + projection) + 12.0 * config.num_layers * width * tokens**2
