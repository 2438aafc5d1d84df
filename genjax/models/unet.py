"""The U-Net of diffusion models, over images or sounds: residual and attention blocks, halved and doubled with skips between.

DDPM (Ho et al., 2020), ADM (Dhariwal and Nichol, 2021: scale and shift by time, BigGAN's resampling), DDPM++ (Song et al., 2021)
and the network of latent diffusion (Rombach et al., 2022: attention to a context) are sizes and options of it.
"""

import math

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int, Real

from genjax.errors import ConfigError
from genjax.layers.conv import Conv, enlarge
from genjax.layers.linear import uniform_init
from genjax.models.conditioning import ConditionEmbedding
from genjax.models.unet_blocks import INITIALIZERS, AttentionBlock, ContextBlock, ResidualBlock, make_norm
from genjax.models.unet_config import Step, UNetConfig, layout


class UNet(nn.Module):
    """A noisy sample and its time to what is said of it."""

    config: UNetConfig

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "batch *places in_channels"],
        times: Real[Array, "batch"],
        classes: Int[Array, "batch"] | Int[Array, "batch attributes"] | None = None,
        last_clean: Float[Array, "batch *places in_channels"] | None = None,
        train: bool = False,
        *,
        condition: Float[Array, "batch condition_features"] | None = None,
        context: Float[Array, "batch length context_width"] | None = None,
    ) -> Float[Array, "batch *places out_channels"]:
        """The output in float32.

        Args:
            times: what the schedule calls the levels.
            classes: for a network that knows classes; the embeddings of several attributes, all rows of one table, are added.
            last_clean: for self-conditioning; None: zeros.
            train: whether to drop (needs a "dropout" key).
            condition: a vector that comes with the sample, such as how it was augmented; None: zeros.
            context: what the cross-attention reads, such as the vectors of a text.

        Raises:
            ConfigError: another number of axes or channels, places that do not divide, or classes, conditions or a context where
                there are none.
        """
        c, dtype = self.config, jnp.dtype(self.config.dtype)
        _check(c, x, context)
        if c.self_conditioning:
            x = jnp.concatenate([x, jnp.zeros_like(x) if last_clean is None else last_clean], axis=-1)
        condition = self._conditions(times, classes, condition)
        residual, attend, attend_context = ResidualBlock, AttentionBlock, ContextBlock
        if c.remat:  # `train` is static, counted without self
            residual = nn.remat(residual, static_argnums=(3,))
            attend, attend_context = nn.remat(attend), nn.remat(attend_context)
        init = INITIALIZERS[c.initialization]
        h = Conv(c.stem, kernel_init=init.inner, dtype=dtype, name="conv_in")(x)
        skips = [h]
        for step in layout(c):
            if step.resample and c.resample == "conv":
                h = self._resample(step, h)
            else:
                h = h if step.way != "up" or step.resample else jnp.concatenate([h, skips.pop()], axis=-1)
                h = residual(c, step, name=step.name)(h, condition, train)
            if step.attends == "self":
                h = attend(c, name=f"{step.name}_attention")(h)
            elif step.attends == "context":
                h = attend_context(c, step.after, name=f"{step.name}_attention")(h, context)
            if step.way == "down":
                skips.append(h)
        h = nn.silu(make_norm(c, c.widths[0], "norm_out", "float32")(h))
        return Conv(c.out_channels, kernel_init=init.last, name="conv_out")(h)

    def _resample(self, step: Step, h):
        c = self.config
        options = {"kernel_init": INITIALIZERS[c.initialization].inner, "dtype": jnp.dtype(c.dtype), "name": step.name}
        if step.resample == "halve":
            return Conv(step.after, stride=2, padding=(0, 1) if c.asymmetric else None, **options)(h)
        return Conv(step.after, **options)(enlarge(h))

    def _conditions(self, times, classes, condition):
        c = self.config
        init = INITIALIZERS[c.initialization]
        # Early classes are a layer that reads sqrt(classes) at the place of the class (Karras et al., 2022, in their code).
        early = uniform_init(2 * c.class_rows / (c.class_rows + c.stem))
        return ConditionEmbedding(
            c.time_features,
            c.stem,
            c.frequency_shift,
            c.sine_first,
            c.class_rows,
            c.early_classes,
            c.condition_features,
            kernel_init=init.inner,
            class_init=early if c.early_classes else nn.initializers.normal(1.0),
            condition_init=init.condition,
            name="conditions",
        )(times, classes, condition)


def flops_per_sample(config: UNetConfig, places: tuple[int, ...], context_length: int = 0) -> float:
    """Floating-point operations of training on one sample, forward and backward: six for every multiplication of the forward
    pass's convolutions, projections and attention (two forward, four backward); norms and activations not counted.

    Args:
        places: of a sample along each axis.
        context_length: vectors in a context.
    """
    c, kernel = config, 3**config.dimensions
    at = lambda level: math.prod(size // 2**level for size in places)  # noqa: E731
    first = c.in_channels * (1 + c.self_conditioning)
    total = kernel * (first * c.stem + c.widths[0] * c.out_channels) * at(0)
    total += (c.stem + c.time_features) * c.time_features + c.condition_features * c.stem
    for step in layout(c):
        width, tokens = step.after, at(step.places)
        total += kernel * step.before * width * tokens
        if not step.resample or c.resample == "block":
            total += kernel * width**2 * tokens + c.time_features * width * (1 + c.scale_shift)
            total += step.before * width * tokens * step.projects
        attention = 4 * width**2 * tokens + 2 * width * tokens**2
        if step.attends == "self":
            total += attention
        elif step.attends == "context":
            cross = 2 * width**2 * tokens + 2 * width * context_length * (c.context_width + tokens)
            total += 2 * width**2 * tokens + c.transformer_layers * (attention + cross + 12 * width**2 * tokens)
    return 6.0 * total


def _check(c: UNetConfig, x: jax.Array, context) -> None:
    if x.ndim != c.dimensions + 2 or x.shape[-1] != c.in_channels:
        raise ConfigError(
            f"a sample is {x.shape[1:]}; the network reads {c.dimensions} axes of places and {c.in_channels} channels."
        )
    if any(size % c.factor for size in x.shape[1:-1]):
        raise ConfigError(f"a sample of {x.shape[1:-1]} places does not divide by {c.factor}, as {len(c.widths)} levels need.")
    width = 0 if context is None else context.shape[-1]
    if width != c.context_width:
        given = f"was given a context of {width} features" if width else "was given no context"
        raise ConfigError(f"the network {given}; it has model.context_width {c.context_width}.")
