"""Networks from images to images, and those that judge what they make, as functions of a run's variables."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Key

from genjax.config import structure
from genjax.errors import ConfigError
from genjax.models import cyclegan, patchgan, pix2pix
from genjax.models.cyclegan import CycleGANConfig, CycleGANGenerator
from genjax.models.patchgan import PatchGAN, PatchGANConfig
from genjax.models.pix2pix import Pix2PixConfig, Pix2PixGenerator
from genjax.tasks.gan_players import MOVING, Collections


@dataclass(frozen=True)
class Kind:
    """One kind of generator.

    Attributes:
        flops: of one square image of a size, forward.
        factor: what the sides of images must be multiples of.
    """

    config: type
    module: Callable[[Any], nn.Module]
    flops: Callable[[Any, int], float]
    factor: Callable[[Any], int]


GENERATORS: Mapping[str, Kind] = {
    "unet": Kind(Pix2PixConfig, Pix2PixGenerator, pix2pix.forward_flops, lambda c: 2**c.levels),
    "resnet": Kind(CycleGANConfig, CycleGANGenerator, cyclegan.forward_flops, lambda c: 2**c.levels),
}


@dataclass(frozen=True)
class Translator:
    """A generator from images to images of the same size."""

    kind: Kind
    config: Any

    def init(self, key: Key[Array, ""], shape: tuple[int, ...]) -> dict[str, Any]:
        return self.kind.module(self.config).init(key, jnp.zeros((1, *shape)))

    def __call__(
        self, variables: Mapping[str, Any], images: Float[Array, "batch height width channels"], key: Key[Array, ""]
    ) -> tuple[Float[Array, "batch height width channels"], Collections]:
        """What is made of images while training, and the moving statistics after it."""
        return self.kind.module(self.config).apply(variables, images, train=True, rngs={"dropout": key}, mutable=MOVING)

    def alone(
        self, variables: Mapping[str, Any], images: Float[Array, "batch height width channels"], keys: Key[Array, "batch"]
    ) -> Float[Array, "batch height width channels"]:
        """What is made of each image by itself: a norm by the batch, as pix2pix has it at test time too, sees no other image."""
        module = self.kind.module(self.config)
        one = lambda image, key: module.apply(variables, image[None], rngs={"dropout": key})[0]  # noqa: E731
        return jax.vmap(one)(images, keys)

    def flops(self, image_size: int) -> float:
        return self.kind.flops(self.config, image_size)


@dataclass(frozen=True)
class Judge:
    """A discriminator of patches."""

    config: PatchGANConfig

    def init(self, key: Key[Array, ""], shape: tuple[int, ...]) -> dict[str, Any]:
        return PatchGAN(self.config).init(key, jnp.zeros((1, *shape[:2], self.config.channels)))

    def __call__(
        self, variables: Mapping[str, Any], images: Float[Array, "batch height width channels"], train: bool
    ) -> tuple[Float[Array, "batch rows columns"], Collections]:
        """Logits of patches, and the moving statistics after them."""
        return PatchGAN(self.config).apply(_known(variables), images, train=train, mutable=MOVING)

    def with_features(
        self, variables: Mapping[str, Any], images: Float[Array, "batch height width channels"]
    ) -> tuple[Float[Array, "batch rows columns"], tuple[Array, ...]]:
        """Logits of patches as while training, and what each layer but the last makes."""
        return PatchGAN(self.config).apply(_known(variables), images, train=True, features=True, mutable=MOVING)[0]

    def flops(self, image_size: int) -> float:
        return patchgan.forward_flops(self.config, image_size)


def _known(variables: Mapping[str, Any]) -> dict[str, Any]:
    """What is a network's own: a component may hold earlier images too."""
    return {name: value for name, value in variables.items() if name in ("params", *MOVING)}


def make_translator(name: str, section: Mapping[str, Any], shape: tuple[int, int, int]) -> Translator:
    """The generator that `config.task.generator` describes, for images of a shape.

    Raises:
        ConfigError: unknown fields, channels, which follow from the data, or sides that do not divide.
    """
    kind = GENERATORS[name]
    fixed = {"in_channels": shape[-1], "out_channels": shape[-1]}
    config = structured(kind.config, section, fixed, "generator")
    factor = kind.factor(config)
    if any(side % factor for side in shape[:2]):
        raise ConfigError(
            f"images of {shape[0]}x{shape[1]} pixels do not divide by {factor}, as config.task.generator.levels {config.levels} "
            "needs; change either."
        )
    return Translator(kind, config)


def make_judge(section: Mapping[str, Any], shape: tuple[int, int, int]) -> Judge:
    """The discriminator that `config.task.discriminator` describes, for images of a shape, a condition's channels with it.

    Raises:
        ConfigError: unknown fields, channels, which follow from the data, or more layers than the images have places for.
    """
    config = structured(PatchGANConfig, section, {"channels": shape[-1]}, "discriminator")
    if patchgan.sides(config, min(shape[:2]))[-1] < 1:
        raise ConfigError(
            f"images of {shape[0]}x{shape[1]} pixels are too small for config.task.discriminator.layers {config.layers}; use "
            "fewer."
        )
    return Judge(config)


def structured(cls: type, section: Mapping[str, Any], fixed: Mapping[str, Any], name: str) -> Any:
    """A network's config from the section `config.task.<name>` and what follows from the data, which the section may not set."""
    if given := sorted(set(fixed) & set(section)):
        raise ConfigError(f"config.task.{name} sets {', '.join(given)}, which follow from the data.")
    return structure(cls, dict(section) | dict(fixed), f"config.task.{name}")
