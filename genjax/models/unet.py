"""The U-Net of diffusion models, over images or sounds: residual and attention blocks, halved and doubled with skips between.

DDPM (Ho et al., 2020), ADM (Dhariwal and Nichol, 2021: scale and shift by time, BigGAN's resampling) and DDPM++ (Song et al.,
2021) are sizes and options of it.
"""

from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int, Real

from genjax.errors import ConfigError
from genjax.layers.attention import Implementation
from genjax.layers.conv import TORCH_INIT, Conv, average_pool, enlarge
from genjax.layers.linear import Projection
from genjax.layers.multihead import MultiHeadAttention
from genjax.layers.norm import GroupNorm
from genjax.models.checks import check_sizes
from genjax.parallel.rules import constrain


@dataclass(frozen=True)
class UNetConfig:
    """The hyper-parameters of a U-Net. The defaults are DDPM's for CIFAR-10, 35.7M parameters.

    Attributes:
        dimensions: axes of a sample beside channels: 2 for images, 1 for sounds.
        in_channels, out_channels: of the sample, and of what is said of it.
        widths: channels of each level, from the finest.
        blocks: residual blocks of a level on the way down; the way up has one more.
        attention_levels: levels whose residual blocks each have an attention block, the finest being 0.
        middle_attention: whether the middle has one.
        head_width: of attention; 0 for one head.
        groups, norm_epsilon: of GroupNorm.
        scale_shift: time scales and shifts the features (ADM) in place of being added.
        resample: "conv", a strided convolution, and one after doubling; "block", a residual block (BigGAN; Brock et al., 2019).
        asymmetric: whether a strided convolution pads after the last row and column alone (DDPM) or on all sides.
        time_width: of the time embedding; 0 for 4 times the finest level's channels.
        sine_first: whether sines come before cosines in it.
        frequency_shift: subtracted from the number of frequencies (1 in DDPM).
        num_classes: 0 for a network that knows none. Class `num_classes` is that of no class, where `null_class`.
        null_class: whether there is a class more, "none", which guidance needs.
        self_conditioning: whether the network also sees its last prediction of the clean sample (Chen et al., 2023).
        dropout: share dropped in residual blocks while training.
        remat: whether blocks are computed again in the backward pass.
        dtype: the computation's dtype; parameters, norms' statistics and the output are float32.
        attention: the attention kernel.
    """

    dimensions: Literal[1, 2] = 2
    in_channels: int = 3
    out_channels: int = 3
    widths: tuple[int, ...] = (128, 256, 256, 256)
    blocks: int = 2
    attention_levels: tuple[int, ...] = (1,)
    middle_attention: bool = True
    head_width: int = 0
    groups: int = 32
    norm_epsilon: float = 1e-6
    scale_shift: bool = False
    resample: Literal["conv", "block"] = "conv"
    asymmetric: bool = False
    time_width: int = 0
    sine_first: bool = False
    frequency_shift: int = 0
    num_classes: int = 0
    null_class: bool = False
    self_conditioning: bool = False
    dropout: float = 0.0
    remat: bool = False
    dtype: Literal["float32", "bfloat16"] = "float32"
    attention: Implementation = "auto"

    def __post_init__(self):
        check_sizes(self, ("in_channels", "out_channels", "blocks", "groups"), ("head_width", "time_width", "num_classes"))
        if not self.widths or any(width < 1 or width % self.groups for width in self.widths):
            raise ConfigError(f"model.widths is {self.widths}; each must be a multiple of model.groups, {self.groups}.")
        if unknown := [level for level in self.attention_levels if not 0 <= level < len(self.widths)]:
            raise ConfigError(
                f"model.attention_levels has {unknown}; levels are 0 to {len(self.widths) - 1}, as model.widths has."
            )
        if self.head_width:
            asked = [self.widths[level] for level in self.attention_levels] + [self.widths[-1]] * self.middle_attention
            if wrong := sorted({width for width in asked if width % self.head_width}):
                raise ConfigError(f"model.head_width {self.head_width} does not divide {wrong} of model.widths; use a divisor.")

    @property
    def time_features(self) -> int:
        return self.time_width or 4 * self.widths[0]

    @property
    def factor(self) -> int:
        """What the places along each axis must be a multiple of."""
        return 2 ** (len(self.widths) - 1)

    @property
    def class_rows(self) -> int:
        return self.num_classes + self.null_class if self.num_classes else 0


def time_frequencies(
    times: Real[Array, "batch"], width: int, shift: int = 0, sine_first: bool = False
) -> Float[Array, "batch width"]:
    """Sines and cosines of times at frequencies that fall from 1 to 1 / 10,000 (Vaswani et al., 2017, section 3.5)."""
    half = width // 2
    angles = times.astype(jnp.float32)[:, None] * jnp.exp(-jnp.log(10_000.0) * jnp.arange(half) / (half - shift))
    parts = (jnp.sin(angles), jnp.cos(angles))
    found = jnp.concatenate(parts if sine_first else parts[::-1], axis=-1)
    return jnp.pad(found, ((0, 0), (0, width % 2)))


class ResidualBlock(nn.Module):
    """Two convolutions around the time embedding (Ho et al., 2020, appendix B), the first of which may halve or double."""

    config: UNetConfig
    features: int
    resample: Literal["", "halve", "double"] = ""

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch *places channels"], time: Float[Array, "batch time_features"], train: bool = False
    ) -> Float[Array, "batch *new_places features"]:
        c, dtype = self.config, jnp.dtype(self.config.dtype)
        conv = lambda name, size=3: Conv(self.features, size, dtype=dtype, name=name)  # noqa: E731
        norm = lambda name: GroupNorm(c.groups, c.norm_epsilon, dtype, name=name)  # noqa: E731
        y = nn.silu(norm("norm_1")(x))
        if self.resample:
            change = average_pool if self.resample == "halve" else enlarge
            x, y = change(x), change(y)
        y = conv("conv_1")(y)
        width = self.features * (1 + c.scale_shift)
        said = Projection((width,), ("embed", "mlp"), kernel_init=TORCH_INIT, dtype=dtype, name="time")(nn.silu(time))
        said = said.reshape(len(x), *[1] * (x.ndim - 2), width)
        if c.scale_shift:
            scale, shift = jnp.split(said, 2, axis=-1)
            y = norm("norm_2")(y) * (1 + scale) + shift
        else:
            y = norm("norm_2")(y + said)
        y = nn.silu(y)
        if c.dropout:
            y = nn.Dropout(c.dropout)(y, deterministic=not train)
        y = conv("conv_2")(y)
        if x.shape[-1] != self.features:
            x = conv("shortcut", 1)(x)
        return _constrain(x + y)


class AttentionBlock(nn.Module):
    """Self-attention over all places (Ho et al., 2020, appendix B)."""

    config: UNetConfig

    @nn.compact
    def __call__(self, x: Float[Array, "batch *places channels"]) -> Float[Array, "batch *places channels"]:
        c, dtype = self.config, jnp.dtype(self.config.dtype)
        channels = x.shape[-1]
        heads = channels // c.head_width if c.head_width else 1
        y = GroupNorm(c.groups, c.norm_epsilon, dtype, name="norm")(x).reshape(len(x), -1, channels)
        attend = MultiHeadAttention(
            heads,
            heads,
            channels // heads,
            causal=False,
            implementation=c.attention,
            kernel_init=TORCH_INIT,
            out_init=TORCH_INIT,
            dtype=dtype,
            name="attention",
        )
        return _constrain(x + attend(y)[0].reshape(x.shape))


class UNet(nn.Module):
    """A noisy sample and its time to what is said of it."""

    config: UNetConfig

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "batch *places in_channels"],
        times: Real[Array, "batch"],
        classes: Int[Array, "batch"] | None = None,
        last_clean: Float[Array, "batch *places in_channels"] | None = None,
        train: bool = False,
    ) -> Float[Array, "batch *places out_channels"]:
        """The output in float32.

        Args:
            times: what the schedule calls the levels.
            classes: for a network that knows classes.
            last_clean: for self-conditioning; None: zeros.

        Raises:
            ConfigError: another number of axes or channels, places that do not divide, or classes where there are none.
        """
        c, dtype = self.config, jnp.dtype(self.config.dtype)
        _check(c, x, classes)
        if c.self_conditioning:
            x = jnp.concatenate([x, jnp.zeros_like(x) if last_clean is None else last_clean], axis=-1)
        time = self._time(times, classes, dtype)
        residual, attend = (nn.remat(of, static_argnums=(3,)) if c.remat else of for of in (ResidualBlock, AttentionBlock))

        def block(x, features, resample="", *, attention=False, name):
            x = residual(c, features, resample, name=name)(x, time, train)
            return attend(c, name=f"{name}_attention")(x) if attention else x

        h = Conv(c.widths[0], dtype=dtype, name="conv_in")(x)
        skips = [h]
        for level, width in enumerate(c.widths):
            for number in range(c.blocks):
                h = block(h, width, attention=level in c.attention_levels, name=f"down_{level}_{number}")
                skips.append(h)
            if level + 1 < len(c.widths):
                h = self._halve(h, block, f"down_{level}_halve", dtype)
                skips.append(h)
        h = block(h, c.widths[-1], attention=c.middle_attention, name="middle_0")
        h = block(h, c.widths[-1], name="middle_1")
        for level, width in reversed(list(enumerate(c.widths))):
            for number in range(c.blocks + 1):
                h = jnp.concatenate([h, skips.pop()], axis=-1)
                h = block(h, width, attention=level in c.attention_levels, name=f"up_{level}_{number}")
            if level:
                name = f"up_{level}_double"
                h = (
                    block(h, width, "double", name=name)
                    if c.resample == "block"
                    else Conv(width, dtype=dtype, name=name)(enlarge(h))
                )
        h = nn.silu(GroupNorm(c.groups, c.norm_epsilon, dtype, name="norm_out")(h))
        return Conv(c.out_channels, dtype=dtype, name="conv_out")(h).astype(jnp.float32)

    def _halve(self, h, block, name: str, dtype):
        c = self.config
        if c.resample == "block":
            return block(h, h.shape[-1], "halve", name=name)
        return Conv(h.shape[-1], stride=2, padding=(0, 1) if c.asymmetric else None, dtype=dtype, name=name)(h)

    def _time(self, times, classes, dtype):
        c = self.config
        dense = lambda name: Projection((c.time_features,), ("embed", "mlp"), kernel_init=TORCH_INIT, dtype=dtype, name=name)  # noqa: E731
        time = time_frequencies(times, c.widths[0], c.frequency_shift, c.sine_first).astype(dtype)
        time = dense("time_2")(nn.silu(dense("time_1")(time)))
        if c.class_rows:
            init = nn.with_logical_partitioning(nn.initializers.normal(1.0), (None, "embed"))
            table = self.param("classes", init, (c.class_rows, c.time_features), jnp.float32)
            time = time + table.astype(dtype)[classes]
        return time


def _check(c: UNetConfig, x: jax.Array, classes) -> None:
    if x.ndim != c.dimensions + 2 or x.shape[-1] != c.in_channels:
        raise ConfigError(
            f"a sample is {x.shape[1:]}; the network reads {c.dimensions} axes of places and {c.in_channels} channels."
        )
    if any(size % c.factor for size in x.shape[1:-1]):
        raise ConfigError(f"a sample of {x.shape[1:-1]} places does not divide by {c.factor}, as {len(c.widths)} levels need.")
    if (classes is not None) != bool(c.class_rows):
        given = "was given classes" if classes is not None else "was given no classes"
        raise ConfigError(f"the network {given}; it has model.num_classes {c.num_classes}.")


def _constrain(x):
    return constrain(x, "activation_batch", *[None] * (x.ndim - 1))
