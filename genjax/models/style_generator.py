"""The generator of StyleGAN2 (Karras et al., 2020): z to w, and w, layer by layer, to an image.

It computes what StyleGAN2-ADA's public code in torch does. Variables: "params"; "w_avg", the moving average of w; "noise_images",
the noise that is the same in every image where that is asked for. Random noise needs a key "noise".
"""

import math
from typing import Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int, Real

from genjax.errors import ConfigError
from genjax.layers.equalized import EqualizedConv, EqualizedProjection, normal_kernel, pixel_norm, scaled_leaky_relu
from genjax.layers.modulated import modulated_conv
from genjax.layers.resample import setup_filter, upsample2d
from genjax.models.style_config import StyleGAN2Config

Noise = Literal["random", "const", "none"]
Classes = Int[Array, "batch"] | Float[Array, "batch num_classes"]

AVERAGE = "w_avg"
NOISE_IMAGES = "noise_images"


class StyleGenerator(nn.Module):
    """z to an image; `styles` and `synthesize` are its two halves, to be called by `apply(..., method="styles")`."""

    config: StyleGAN2Config

    def setup(self):
        c = self.config
        self.mapping = MappingNetwork(c.latent, c.num_classes, c.style_width, c.mapping_layers, c.mapping_lr_multiplier)
        self.synthesis = SynthesisNetwork(c)
        self.average = self.variable(AVERAGE, "mean", jnp.zeros, (c.style_width,), jnp.float32)

    def __call__(
        self,
        z: Float[Array, "batch latent"],
        classes: Classes | None = None,
        train: bool = False,
        *,
        truncation: Real[Array, ""] | Real[Array, "batch"] | float | None = None,
        cutoff: Int[Array, ""] | int | None = None,
        noise: Noise = "random",
        other_z: Float[Array, "batch latent"] | None = None,
        crossover: Int[Array, ""] | Int[Array, "batch"] | int | None = None,
    ) -> Float[Array, "batch height width channels"]:
        """Images in float32, whose range [-1, 1] is learned and not enforced.

        Args:
            z: drawn from N(0, 1).
            classes, train, truncation, cutoff: see `styles`.
            noise: see `synthesize`.
            other_z: of a second image, whose w the layers from `crossover` on read (section 3.1 of StyleGAN: style mixing).
            crossover: see `mix_styles` and `draw_crossover`.
        """
        ws = self.styles(z, classes, train, truncation=truncation, cutoff=cutoff)
        if (other_z is None) != (crossover is None):
            raise ConfigError("styles are mixed by other_z and crossover together; give both or neither.")
        if other_z is not None:
            other = self.styles(other_z, classes, truncation=truncation, cutoff=cutoff)
            ws = mix_styles(ws, other, crossover)
        return self.synthesize(ws, noise)

    def styles(
        self,
        z: Float[Array, "batch latent"],
        classes: Classes | None = None,
        train: bool = False,
        *,
        truncation: Real[Array, ""] | Real[Array, "batch"] | float | None = None,
        cutoff: Int[Array, ""] | int | None = None,
    ) -> Float[Array, "batch num_styles style_width"]:
        """The w of every layer.

        Args:
            classes: numbers of classes, or a weight for each class; for a network that knows classes.
            train: whether the average of w moves towards this batch's mean, where "w_avg" is mutable.
            truncation: ψ: how far from the average w stays, as a share of its distance (StyleGAN, appendix B). None: all of it.
            cutoff: how many of the first layers are truncated; None: all.
        """
        c = self.config
        w = self.mapping(z, classes)
        if train and self.is_mutable_collection(AVERAGE) and not self.is_initializing():
            mean = jax.lax.stop_gradient(w).mean(0)
            self.average.value = mean + c.average_decay * (self.average.value - mean)
        ws = jnp.broadcast_to(w[:, None], (len(w), c.num_styles, c.style_width))
        return ws if truncation is None else truncate(ws, self.average.value, truncation, cutoff)

    def synthesize(
        self, ws: Float[Array, "batch num_styles style_width"], noise: Noise = "random"
    ) -> Float[Array, "batch height width channels"]:
        """The image of a w for each layer (W+).

        Args:
            noise: "random": another at every call, from the key "noise"; "const": that of "noise_images", one image [height
                width] for all or one for each [batch height width]; "none".

        Raises:
            ConfigError: another shape of ws, an unknown kind of noise, or random noise without a key.
        """
        return self.synthesis(ws, noise)


def truncate(
    ws: Float[Array, "batch num_styles style_width"],
    mean: Float[Array, "style_width"],
    truncation: Real[Array, ""] | Real[Array, "batch"] | float,
    cutoff: Int[Array, ""] | int | None = None,
) -> Float[Array, "batch num_styles style_width"]:
    """mean + ψ (w - mean) in the first `cutoff` layers, or in all; exactly w where ψ is 1."""
    rest = jnp.reshape(1 - jnp.asarray(truncation, ws.dtype), (-1, 1, 1))
    if cutoff is not None:
        rest = jnp.where(jnp.arange(ws.shape[1])[:, None] < cutoff, rest, 0)
    return ws - rest * (ws - mean)


def mix_styles(
    ws: Float[Array, "batch num_styles style_width"],
    other: Float[Array, "batch num_styles style_width"],
    crossover: Int[Array, ""] | Int[Array, "batch"] | int,
) -> Float[Array, "batch num_styles style_width"]:
    """`ws` in the layers before `crossover`, `other` from there on; one crossover for all, or one for each."""
    return jnp.where(jnp.arange(ws.shape[1])[:, None] < jnp.reshape(crossover, (-1, 1, 1)), ws, other)


def draw_crossover(
    key: jax.Array, num_styles: int, probability: float = 0.9, shape: tuple[int, ...] = ()
) -> Int[Array, "*shape"]:
    """With `probability` one of 1 ... num_styles - 1, all alike; else num_styles, which mixes nothing.

    The public code draws one for a batch; 0.9 is the share of mixed images of all its configurations but CIFAR-10's.
    """
    chance, place = jax.random.split(key)
    crossover = jax.random.randint(place, shape, 1, num_styles)
    return jnp.where(jax.random.uniform(chance, shape) < probability, crossover, num_styles)


class MappingNetwork(nn.Module):
    """z and a class to w (StyleGAN, section 2), or a class alone to a vector of its own.

    Attributes:
        latent: numbers of z; 0 for none.
        num_classes: 0 for none.
        width: of all layers and of the class's embedding.
        layers: how many.
        lr_multiplier: see `EqualizedProjection`.
    """

    latent: int
    num_classes: int
    width: int
    layers: int = 8
    lr_multiplier: float = 0.01

    @nn.compact
    def __call__(self, z: Float[Array, "batch latent"] | None, classes: Classes | None = None) -> Float[Array, "batch width"]:
        """Raises ConfigError: another width of z, classes where the network knows none, or none where it does."""
        if self.latent and (z.ndim != 2 or z.shape[-1] != self.latent):
            raise ConfigError(f"z is {z.shape}; it must be (batch, {self.latent}), as model.latent says.")
        if (classes is None) != (self.num_classes == 0):
            given = "no classes were given" if classes is None else "classes were given"
            raise ConfigError(f"{given} to a network of model.num_classes {self.num_classes}.")
        inputs = []
        if self.latent:
            inputs.append(pixel_norm(z.astype(jnp.float32)))
        if self.num_classes:
            weights = classes if classes.ndim == 2 else jax.nn.one_hot(classes, self.num_classes)
            inputs.append(pixel_norm(EqualizedProjection(self.width, name="embed")(weights)))
        w = jnp.concatenate(inputs, axis=-1)
        for layer in range(self.layers):
            w = scaled_leaky_relu(EqualizedProjection(self.width, self.lr_multiplier, name=f"fc{layer}")(w))
        return w


class SynthesisNetwork(nn.Module):
    """A w for each layer to an image."""

    config: StyleGAN2Config

    @nn.compact
    def __call__(
        self, ws: Float[Array, "batch num_styles style_width"], noise: Noise = "random"
    ) -> Float[Array, "batch height width channels"]:
        c = self.config
        if ws.ndim != 3 or ws.shape[1:] != (c.num_styles, c.style_width):
            raise ConfigError(f"ws is {ws.shape}; it must be (batch, {c.num_styles}, {c.style_width}): a w for each layer.")
        if noise not in ("random", "const", "none"):
            raise ConfigError(f"noise is {noise!r}; it must be 'random', 'const' or 'none'.")
        if noise == "random" and not self.has_rng("noise") and not self.is_initializing():
            raise ConfigError("random noise needs a key: rngs={'noise': key}; or ask for noise 'const' or 'none'.")
        ws = ws.astype(jnp.float32)
        x = image = None
        first = 0
        for resolution in c.resolutions:
            count = 1 if resolution == 4 else 2
            # The image of a block and the first convolution of the next read the same w.
            x, image = SynthesisBlock(c, resolution, name=f"b{resolution}")(x, image, ws[:, first : first + count + 1], noise)
            first += count
        return image


class SynthesisBlock(nn.Module):
    """Two styled convolutions (one at 4x4), and what they add to the image."""

    config: StyleGAN2Config
    resolution: int

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "batch half_height half_width channels_before"] | None,
        image: Float[Array, "batch half_height half_width image_channels"] | None,
        ws: Float[Array, "batch layers style_width"],
        noise: Noise,
    ) -> tuple[Float[Array, "batch height width channels"], Float[Array, "batch height width image_channels"] | None]:
        c, width, dtype = self.config, self.config.channels_at(self.resolution), self.config.dtype_at(self.resolution)
        options = dict(taps=c.taps, clamp=c.clamp, dtype=dtype)
        residual = c.generator == "resnet" and self.resolution > 4
        gain = math.sqrt(0.5) if residual else 1.0
        if self.resolution == 4:
            init = nn.with_logical_partitioning(nn.initializers.normal(1.0), (None, None, "embed"))
            const = self.param("const", init, (4, 4, width), jnp.float32)
            x = jnp.broadcast_to(const.astype(dtype), (len(ws), *const.shape))
        else:
            x = x.astype(dtype)
            skip = x
            x = StyledConv(width, up=2, **options, name="conv0")(x, ws[:, 0], noise)
        x = StyledConv(width, gain=gain, **options, name="conv1")(x, ws[:, -2], noise)
        if residual:
            x += gain * EqualizedConv(width, 1, up=2, taps=c.taps, use_bias=False, dtype=dtype, name="skip")(skip)
        if image is not None:
            image = upsample2d(image, setup_filter(c.taps))
        if self.resolution == c.image_size or c.generator == "skip":
            y = ToImage(c.channels, c.clamp, dtype, name="torgb")(x, ws[:, -1]).astype(jnp.float32)
            image = y if image is None else image + y
        return x, image


class StyledConv(nn.Module):
    """A modulated convolution, noise, bias and activation.

    Attributes:
        features: channels of the result.
        up: how many times as many places.
        taps: of the filter that comes with it.
        gain: of the activation, beside its sqrt(2).
        clamp: bound of the result, times `gain`.
        dtype: the computation's dtype.
    """

    features: int
    up: int = 1
    taps: tuple[float, ...] = (1, 3, 3, 1)
    gain: float = 1.0
    clamp: float | None = None
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width channels"], w: Float[Array, "batch style_width"], noise: Noise
    ) -> Float[Array, "batch new_height new_width features"]:
        styles = EqualizedProjection(x.shape[-1], bias_init=1.0, name="affine")(w)
        kernel = self.param(
            "kernel", normal_kernel((None, None, "embed", "mlp")), (3, 3, x.shape[-1], self.features), jnp.float32
        )
        x = modulated_conv(x.astype(self.dtype), kernel, styles, setup_filter(self.taps), self.up)
        strength = self.param("noise_strength", nn.with_logical_partitioning(nn.initializers.zeros, ()), (), jnp.float32)
        places = x.shape[1:3]
        if noise == "const" or self.is_initializing():
            draw = lambda: jax.random.normal(self.make_rng("params"), places)  # noqa: E731
            image = self.variable(NOISE_IMAGES, "image", draw).value
            image = image if image.ndim == 3 else image[None]
        if noise == "random":
            image = jax.random.normal(self.make_rng("noise"), (len(x), *places))
        if noise != "none":
            x += (strength * image).astype(x.dtype)[..., None]
        init = nn.with_logical_partitioning(nn.initializers.zeros, ("mlp",))
        x += self.param("bias", init, (self.features,), jnp.float32).astype(x.dtype)
        return scaled_leaky_relu(x, math.sqrt(2) * self.gain, self.clamp and self.clamp * self.gain)


class ToImage(nn.Module):
    """A modulated convolution of size 1 to an image's channels, without demodulation.

    Attributes:
        channels: of the image.
        clamp: bound of the result.
        dtype: the computation's dtype.
    """

    channels: int
    clamp: float | None
    dtype: jnp.dtype

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width features"], w: Float[Array, "batch style_width"]
    ) -> Float[Array, "batch height width channels"]:
        styles = EqualizedProjection(x.shape[-1], bias_init=1.0, name="affine")(w) / math.sqrt(x.shape[-1])
        kernel = self.param(
            "kernel", normal_kernel((None, None, "embed", "mlp")), (1, 1, x.shape[-1], self.channels), jnp.float32
        )
        y = modulated_conv(x.astype(self.dtype), kernel, styles, setup_filter(), demodulate=False)
        init = nn.with_logical_partitioning(nn.initializers.zeros, ("mlp",))
        y += self.param("bias", init, (self.channels,), jnp.float32).astype(y.dtype)
        return y if self.clamp is None else jnp.clip(y, -self.clamp, self.clamp)
