"""The blocks of a U-Net: residual blocks, attention over all places, and transformers that also attend a context."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple, Protocol

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from genjax.layers.attention import Implementation
from genjax.layers.conv import TORCH_INIT, Conv, average_pool, enlarge
from genjax.layers.linear import Initializer, Projection, uniform_init
from genjax.layers.multihead import MultiHeadAttention
from genjax.layers.norm import GroupNorm
from genjax.models.transformer import BlockConfig, BlockInputs, make_blocks, run_blocks
from genjax.models.unet_config import Initialization, Step, UNetConfig
from genjax.parallel.rules import constrain


class Initializers(NamedTuple):
    """How the kernels of a U-Net begin.

    Attributes:
        inner: most kernels.
        last: those whose result is added to a block's input, and the network's last.
        attention: variance of queries', keys' and values' kernels, times channels.
        condition: the kernel of the vector that comes with a sample.
    """

    inner: Initializer
    last: Initializer
    attention: float
    condition: Initializer


_XAVIER = nn.initializers.variance_scaling(1.0, "fan_avg", "uniform")

INITIALIZERS: Mapping[Initialization, Initializers] = MappingProxyType(
    {
        # Ho et al., 2020, in their code, and Karras et al., 2022: queries, keys and values are one kernel of fans C and 3C there,
        # and begin at sqrt(0.2) of their size.
        "xavier": Initializers(_XAVIER, nn.initializers.variance_scaling(1e-10, "fan_avg", "uniform"), 0.2 * 2 / 4, _XAVIER),
        "zero": Initializers(TORCH_INIT, nn.initializers.zeros, 1 / 3, nn.initializers.zeros),
        "torch": Initializers(TORCH_INIT, TORCH_INIT, 1 / 3, nn.initializers.zeros),
    }
)


class BlockOptions(Protocol):
    """What residual and attention blocks read of a config: see `UNetConfig`."""

    initialization: Initialization
    norm_epsilon: float
    scale_shift: bool
    skip_scale: float
    dropout: float
    dtype: str
    attention: Implementation

    def groups_of(self, channels: int) -> int: ...

    def heads_of(self, channels: int) -> int: ...


class ResidualBlock(nn.Module):
    """Two convolutions around the condition (Ho et al., 2020, appendix B), where there is one; the first may halve or double."""

    config: BlockOptions
    step: Step

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "batch *places channels"],
        condition: Float[Array, "batch time_features"] | None,
        train: bool = False,
    ) -> Float[Array, "batch *new_places features"]:
        c, features, dtype = self.config, self.step.after, jnp.dtype(self.config.dtype)
        init = INITIALIZERS[c.initialization]
        y = nn.silu(make_norm(c, x.shape[-1], "norm_1")(x))
        if self.step.resample:
            change = average_pool if self.step.resample == "halve" else enlarge
            x, y = change(x), change(y)
        y = Conv(features, kernel_init=init.inner, dtype=dtype, name="conv_1")(y)
        norm = make_norm(c, features, "norm_2")
        if condition is None:
            y = norm(y)
        else:
            width = features * (1 + c.scale_shift)
            said = Projection((width,), ("embed", "mlp"), kernel_init=init.inner, dtype=dtype, name="time")(nn.silu(condition))
            said = said.reshape(len(x), *[1] * (x.ndim - 2), width)
            if c.scale_shift:
                scale, shift = jnp.split(said, 2, axis=-1)
                y = norm(y) * (1 + scale) + shift
            else:
                y = norm(y + said)
        y = nn.silu(y)
        if c.dropout:
            y = nn.Dropout(c.dropout)(y, deterministic=not train)
        y = Conv(features, kernel_init=init.last, dtype=dtype, name="conv_2")(y)
        if self.step.projects:
            x = Conv(features, 1, kernel_init=init.inner, dtype=dtype, name="shortcut")(x)
        return _added(c, x, y)


class AttentionBlock(nn.Module):
    """Self-attention over all places (Ho et al., 2020, appendix B)."""

    config: BlockOptions

    @nn.compact
    def __call__(self, x: Float[Array, "batch *places channels"]) -> Float[Array, "batch *places channels"]:
        c, channels = self.config, x.shape[-1]
        init, heads = INITIALIZERS[c.initialization], c.heads_of(channels)
        attend = MultiHeadAttention(
            heads,
            heads,
            channels // heads,
            causal=False,
            implementation=c.attention,
            kernel_init=uniform_init(init.attention / channels),
            out_init=init.last,
            dtype=jnp.dtype(c.dtype),
            name="attention",
        )
        y = make_norm(c, channels, "norm")(x).reshape(len(x), -1, channels)
        return _added(c, x, attend(y)[0].reshape(x.shape))


class ContextBlock(nn.Module):
    """A transformer over all places: each layer attends them, then the context (Rombach et al., 2022, appendix E.2.1)."""

    config: UNetConfig
    features: int

    def setup(self):
        c, dtype = self.config, jnp.dtype(self.config.dtype)
        init, heads = INITIALIZERS[c.initialization], c.heads_of(self.features)
        std = (3 * self.features) ** -0.5  # torch's variance; all kernels but two read `features`
        block = BlockConfig(
            num_heads=heads,
            num_kv_heads=heads,
            head_dim=self.features // heads,
            mlp_dim=4 * self.features,
            causal=False,
            activation="gelu",
            gated=True,
            input_bias=False,
            cross=True,
            dtype=c.dtype,
            attention=c.attention,
            init_std=std,
            residual_std=std,
        )

        def project(kernel_init: Initializer) -> nn.Module:
            if c.linear_projection:
                return Projection((self.features,), ("embed", "mlp"), kernel_init=kernel_init, dtype=dtype)
            return Conv(self.features, 1, kernel_init=kernel_init, dtype=dtype)

        self.norm = GroupNorm(c.groups_of(self.features), 1e-6, dtype)
        self.enter, self.leave = project(init.inner), project(init.last)
        self.blocks = make_blocks(block, c.transformer_layers, scan_layers=False, remat="none")

    def __call__(
        self, x: Float[Array, "batch *places features"], context: Float[Array, "batch length context_features"]
    ) -> Float[Array, "batch *places features"]:
        y = self.enter(self.norm(x)).reshape(len(x), -1, self.features)
        y, _ = run_blocks(self.blocks, self.config.transformer_layers, y, BlockInputs(context=context))
        return _added(self.config, x, self.leave(y.reshape(x.shape)))


def make_norm(config: BlockOptions, channels: int, name: str, dtype: str = "") -> GroupNorm:
    """The GroupNorm over so many channels; its result has the config's dtype where none is given."""
    return GroupNorm(config.groups_of(channels), config.norm_epsilon, jnp.dtype(dtype or config.dtype), name=name)


def _added(config: BlockOptions, x: Array, y: Array) -> Array:
    z = x + y if config.skip_scale == 1 else (x + y) * config.skip_scale
    return constrain(z, "activation_batch", *[None] * (z.ndim - 1))
