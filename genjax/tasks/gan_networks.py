"""The players that a GAN may have: what they are made of, and how each is called."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Array, Float, Int, Key

from genjax.config import choose, plain, structure
from genjax.errors import ConfigError
from genjax.models import dcgan, point_networks, sngan, style_config
from genjax.models.dcgan import DCGANConfig, DCGANDiscriminator, DCGANGenerator
from genjax.models.point_networks import PointCritic, PointGANConfig, PointGenerator
from genjax.models.sngan import SNGANConfig, SNGANCritic, SNGANGenerator
from genjax.models.sngan_sizes import SNGAN_SIZES
from genjax.models.style_config import StyleGAN2Config
from genjax.models.style_discriminator import StyleDiscriminator
from genjax.models.style_generator import AVERAGE, NOISE_IMAGES, StyleGenerator, draw_crossover, mix_styles
from genjax.models.style_sizes import STYLE_SIZES

GENERATOR, DISCRIMINATOR = "generator", "discriminator"
MOVING = ["batch_stats", "spectral", AVERAGE]  # collections that a pass may change while training

Collections = Mapping[str, Any]


@dataclass(frozen=True)
class Kind:
    """One kind of players, both described by one config.

    Attributes:
        shape: of the examples that a config is for.
        flops: of generator and discriminator for one example, forward, as models/ counts them.
        from_data: fields of the config that follow from the examples' shape.
    """

    config: type
    generator: Callable[[Any], nn.Module]
    discriminator: Callable[[Any], nn.Module]
    flops: Callable[[Any], tuple[float, float]]
    shape: Callable[[Any], tuple[int, ...]]
    from_data: Callable[[tuple[int, ...]], Mapping[str, Any]]
    sizes: Mapping[str, Any]


KINDS: Mapping[str, Kind] = {
    "points": Kind(
        PointGANConfig,
        PointGenerator,
        PointCritic,
        point_networks.forward_flops,
        lambda c: (c.features,),
        lambda shape: {"features": shape[-1]},
        {},
    ),
    "dcgan": Kind(
        DCGANConfig,
        DCGANGenerator,
        DCGANDiscriminator,
        lambda c: (dcgan.generator_flops(c), dcgan.discriminator_flops(c)),
        lambda c: (c.image_size, c.image_size, c.channels),
        lambda shape: {"image_size": shape[0], "channels": shape[-1]},
        {},
    ),
    "sngan": Kind(
        SNGANConfig,
        SNGANGenerator,
        SNGANCritic,
        sngan.forward_flops,
        lambda c: (c.image_size, c.image_size, c.channels),
        lambda shape: {"channels": shape[-1]},
        SNGAN_SIZES,
    ),
    "stylegan2": Kind(
        StyleGAN2Config,
        StyleGenerator,
        StyleDiscriminator,
        lambda c: (style_config.generator_flops(c), style_config.discriminator_flops(c)),
        lambda c: (c.image_size, c.image_size, c.channels),
        lambda shape: {"image_size": shape[0], "channels": shape[-1]},
        STYLE_SIZES,
    ),
}


@dataclass(frozen=True)
class Players:
    """Generator and discriminator of one kind, as functions of a run's variables."""

    kind: Kind
    config: Any

    @property
    def latent(self) -> int:
        """Numbers that an example is made from, drawn from a normal distribution."""
        return self.config.latent

    def init(self, key: jax.Array) -> dict[str, Any]:
        c = self.config
        first, second = jax.random.split(key)
        told = (jnp.zeros(1, jnp.int32),) if c.num_classes else ()
        return {
            GENERATOR: self.kind.generator(c).init(first, jnp.zeros((1, c.latent)), *told),
            DISCRIMINATOR: self.kind.discriminator(c).init(second, jnp.zeros((1, *self.kind.shape(c))), *told),
        }

    def generate(
        self,
        variables: Mapping[str, Any],
        z: Float[Array, "batch latent"],
        classes: Int[Array, "batch"] | None,
        train: bool,
        key: Key[Array, ""] | None = None,
    ) -> tuple[Float[Array, "batch *shape"], Collections]:
        """Examples, and the generator's moving statistics after them (none unless `train`).

        Args:
            key: of what is random beside the latents, for a generator that has such.
        """
        return _apply(self.kind.generator(self.config), variables[GENERATOR], z, classes, train)

    def judge(
        self, variables: Mapping[str, Any], x: Float[Array, "batch *shape"], classes: Int[Array, "batch"] | None, train: bool
    ) -> tuple[Float[Array, "batch"], Collections]:
        """Logits, and the discriminator's moving statistics after them (none unless `train`)."""
        return _apply(self.kind.discriminator(self.config), variables[DISCRIMINATOR], x, classes, train)

    @property
    def flops(self) -> tuple[float, float]:
        """Of generator and discriminator for one example, forward."""
        return self.kind.flops(self.config)


@dataclass(frozen=True)
class StylePlayers(Players):
    """Players whose generator reads styles, one for each of its layers.

    Attributes:
        mixing: how often a batch that is generated while training has the styles of two latents.
    """

    mixing: float = 0.0

    def generate(self, variables, z, classes, train, key=None):
        """See `Players`. Without a key, noise is the same in every image."""
        styles_key, noise_key = (None, None) if key is None else jax.random.split(key)
        styles, moved = self.styles(variables, z, classes, train, styles_key)
        return self.synthesize(variables, styles, noise_key), moved

    def styles(
        self,
        variables: Mapping[str, Any],
        z: Float[Array, "batch latent"],
        classes: Int[Array, "batch"] | None,
        train: bool,
        key: Key[Array, ""] | None = None,
        **truncation: Array,
    ) -> tuple[Float[Array, "batch layers width"], Collections]:
        """The styles of latents, mixed where `train` and the config say so, and the mean of styles after them."""
        module, c = self.kind.generator(self.config), self.config
        map_styles = functools.partial(module.apply, variables[GENERATOR], method="styles")
        if not train:
            return map_styles(z, classes, **truncation), {}
        styles, moved = map_styles(z, classes, train=True, mutable=[AVERAGE])
        if self.mixing:
            latent_key, place_key = jax.random.split(key)
            other = map_styles(jax.random.normal(latent_key, z.shape), classes)
            styles = mix_styles(styles, other, draw_crossover(place_key, c.num_styles, self.mixing))
        return styles, moved

    def synthesize(
        self,
        variables: Mapping[str, Any],
        styles: Float[Array, "batch layers width"],
        key: Key[Array, ""] | None,
        noise_images: Mapping[str, Float[Array, "batch height width"]] | None = None,
    ) -> Float[Array, "batch height width channels"]:
        """Images of styles. Without a key, noise is the same in every image, or `noise_images`, by their paths."""
        held = variables[GENERATOR]
        if noise_images is not None:
            held = dict(held) | {NOISE_IMAGES: unflatten_dict(noise_images, sep="/")}
        noise = {"noise": "const"} if key is None else {"noise": "random", "rngs": {"noise": key}}
        return self.kind.generator(self.config).apply(held, styles, method="synthesize", **noise)

    @property
    def noise_shapes(self) -> Mapping[str, tuple[int, int]]:
        """Height and width of the images of noise, by their paths."""
        module, z = self.kind.generator(self.config), jnp.zeros((1, self.latent))
        told = (jnp.zeros(1, jnp.int32),) if self.config.num_classes else ()
        held = jax.eval_shape(module.init, jax.random.key(0), z, *told)[NOISE_IMAGES]
        return {path: image.shape for path, image in flatten_dict(held, sep="/").items()}

    def drawn_styles(self, variables: Mapping[str, Any], count: int) -> Float[Array, "count width"]:
        """The w of latents that are always the same, with classes in turn where there are any: what W is judged by."""
        c = self.config
        classes = jnp.arange(count) % c.num_classes if c.num_classes else None
        z = jax.random.normal(jax.random.key(0), (count, self.latent))
        return self.styles(variables, z, classes, train=False)[0][:, 0]

    def features(
        self, variables: Mapping[str, Any], images: Float[Array, "batch height width channels"]
    ) -> tuple[Float[Array, "batch h w features"], ...]:
        """What each block of the discriminator sees."""
        return self.kind.discriminator(self.config).apply(variables[DISCRIMINATOR], images, features=True)


def _apply(module: nn.Module, variables: Mapping[str, Any], x: Array, classes: Array | None, train: bool):
    if not train:
        return module.apply(variables, x, classes, train=False), {}
    return module.apply(variables, x, classes, train=True, mutable=MOVING)


def make_players(name: str, section: Mapping[str, Any], shape: tuple[int, ...], num_classes: int, mixing: float = 0.0) -> Players:
    """The players that `config.task.model` describes.

    Args:
        section: fields of the kind's config; `size` takes the rest from a row of its sizes.
        shape: of the data's examples.
        num_classes: that both are told; 0: none.
        mixing: of styles; see `StylePlayers`.

    Raises:
        ConfigError: unknown names and fields, fields that follow from the data, or players for examples of another shape.
    """
    kind = KINDS[name]
    points = name == "points"
    if points != (len(shape) == 1):
        what = "points" if points else "images"
        other = "'mixture'" if points else "'images' or 'shapes'"
        raise ConfigError(f"config.task.network '{name}' is for {what}; set config.data.name to {other}.")
    values = dict(section)
    size = values.pop("size", "")
    base = plain(choose("config.task.model.size:", size, kind.sizes)) if size else {}
    if not points and shape[0] != shape[1]:
        raise ConfigError(f"config.task.network '{name}' makes square images; those of the data are {shape[0]}x{shape[1]}.")
    fixed = {**kind.from_data(shape), "num_classes": num_classes}
    if given := sorted(set(fixed) & set(values)):
        raise ConfigError(f"config.task.model sets {', '.join(given)}, which follow from the data and the rest of config.task.")
    config = structure(kind.config, base | values | fixed, "config.task.model")
    if kind.shape(config) != tuple(shape):
        made, has = ("x".join(map(str, sides[:2])) for sides in (kind.shape(config), shape))
        raise ConfigError(
            f"config.task.model makes images of {made} pixels, but the data has {has}: change its widths, or data.image_size."
        )
    if name == "stylegan2":
        return StylePlayers(kind, config, mixing)
    if mixing:
        raise ConfigError(f"config.task.style_mixing is for network 'stylegan2'; '{name}' has no styles: leave it out.")
    return Players(kind, config)
