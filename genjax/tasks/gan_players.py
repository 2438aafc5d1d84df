"""Players of a GAN as functions of a run's variables: those that stay what they are, those that read styles, those that grow."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Array, Float, Int, Key

from genjax.adversarial.growth import Growth
from genjax.layers.conv import average_pool, enlarge
from genjax.models import progressive
from genjax.models.progressive import fade_images
from genjax.models.style_generator import AVERAGE, NOISE_IMAGES, draw_crossover, mix_styles

GENERATOR, DISCRIMINATOR = "generator", "discriminator"
GROWTH = "growth"  # the component whose collection "shown" is the number of real images that were shown
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


@dataclass(frozen=True)
class Stage:
    """Who plays on which steps of a run.

    Attributes:
        name: added to the names of the turns.
        start, stop: the steps, as `contract.Turn` has them.
    """

    players: "Players"
    name: str = ""
    start: int = 0
    stop: int | None = None


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
        return {
            GENERATOR: self.kind.generator(c).init(first, jnp.zeros((1, c.latent)), *self._told),
            DISCRIMINATOR: self.kind.discriminator(c).init(second, jnp.zeros((1, *self.kind.shape(c))), *self._told),
        }

    @property
    def _told(self) -> tuple[Int[Array, "1"], ...]:
        """What a network is initialized with beside its input: a class, where there are any."""
        return (jnp.zeros(1, jnp.int32),) if getattr(self.config, "num_classes", 0) else ()

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

    @property
    def stages(self) -> Sequence[Stage]:
        """Of a run, in order: one, for players that stay what they are."""
        return (Stage(self),)

    def see(self, variables: Mapping[str, Any], x: Float[Array, "batch *shape"]) -> Float[Array, "batch *seen"]:
        """Examples of the data as these players have them."""
        return x

    def count(self, variables: Mapping[str, Any], rows: int) -> tuple[Mapping[str, Any], Mapping[str, Any], Mapping[str, Array]]:
        """Of a step's first batch (or microbatch): the variables that it is played with, the components that they leave, and
        what to report of them."""
        return variables, {}, {}


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
        held = jax.eval_shape(module.init, jax.random.key(0), z, *self._told)[NOISE_IMAGES]
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


@dataclass(frozen=True)
class GrowingPlayers(Players):
    """Players whose resolution grows; see `adversarial/growth.py`.

    Attributes:
        growth: the schedule.
        stage: at which they play, with images of its size; None: at that which a run's variables are at, with images of the full
            size, whose pixels are repeated.
    """

    growth: Growth | None = None
    stage: int | None = None

    @property
    def stages(self):
        grown = [replace(self, stage=stage) for stage in self.growth.stages]
        return tuple(Stage(own, f"_{own.size}", *self.growth.steps(own.stage)) for own in grown)

    @property
    def size(self) -> int:
        return 4 * 2**self.stage

    @property
    def flops(self):
        c = self.config
        return progressive.generator_flops(c, self.stage), progressive.discriminator_flops(c, self.stage)

    def init(self, key):
        return super().init(key) | _shown(jnp.zeros((), jnp.int32))

    def generate(self, variables, z, classes, train, key=None):
        if self.stage is None:
            return self._present(variables, lambda own: own.enlarged(own.generate(variables, z, classes, train)[0])), {}
        network = self.kind.generator(self.config)
        return network.apply(variables[GENERATOR], z, classes, stage=self.stage, alpha=self._alpha(variables)), {}

    def judge(self, variables, x, classes, train):
        if self.stage is None:
            return self._present(variables, lambda own: own.judge(variables, own.reduced(x), classes, train)[0]), {}
        network = self.kind.discriminator(self.config)
        return network.apply(variables[DISCRIMINATOR], x, classes, stage=self.stage, alpha=self._alpha(variables)), {}

    def see(self, variables, x):
        """Examples reduced to the stage's size, and faded as the networks are."""
        if self.stage is None:
            return self._present(variables, lambda own: own.enlarged(own.see(variables, x)))
        own = self.reduced(x)
        return own if self.stage == self.growth.first else fade_images(own, self._alpha(variables))

    def count(self, variables, rows):
        images = _images(variables)
        variables = dict(variables) | _shown(self.growth.whole_steps(images))
        coarse = self.size if self.stage == self.growth.first else self.size / 2
        resolution = coarse + (self.size - coarse) * self._alpha(variables)
        return variables, _shown(images + rows), {"resolution": resolution}

    def reduced(self, x: Float[Array, "batch height width channels"]) -> Float[Array, "batch size size channels"]:
        return average_pool(x, self.config.image_size // self.size)

    def enlarged(self, x: Float[Array, "batch size size channels"]) -> Float[Array, "batch height width channels"]:
        return enlarge(x, self.config.image_size // self.size)

    def _alpha(self, variables) -> Float[Array, ""]:
        return self.growth.alpha(self.stage, _images(variables))

    def _present(self, variables, function: Callable[["GrowingPlayers"], Array]) -> Array:
        """Of the players of the stage that the variables are at."""
        number = self.growth.stage(_images(variables)) - self.growth.first
        return jax.lax.switch(number, [functools.partial(function, stage.players) for stage in self.stages])


def _images(variables: Mapping[str, Any]) -> Int[Array, ""]:
    return variables[GROWTH]["shown"]["images"]


def _shown(images: Array) -> dict[str, Any]:
    return {GROWTH: {"shown": {"images": images}}}


def _apply(module: nn.Module, variables: Mapping[str, Any], x: Array, classes: Array | None, train: bool):
    if not train:
        return module.apply(variables, x, classes, train=False), {}
    return module.apply(variables, x, classes, train=True, mutable=MOVING)
