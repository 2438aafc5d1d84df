"""How far a made image is from a given one: by what a network sees in both, or by their pixels.

The published projection looks with LPIPS, whose weights come with no run. What every run has is its discriminator, which has
learned what matters in images of this kind, and by whose features generators have been fitted to pictures (Pan et al., 2020:
"Exploiting deep generative prior"); so that it is what is taken unless one asks for another. Mean squared pixels need no
network, but find the blurred mean of what could be. VGG's features are there for who has torchvision's file.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from genjax.errors import CheckpointError, RequestError
from genjax.interop import public_files
from genjax.models.vgg import VGG, VGGConfig
from genjax.tasks.contract import Variables
from genjax.tasks.gan_players import StylePlayers

Features = tuple[Float[Array, "batch h w features"], ...]

DISTANCES = ("discriminator", "pixels", "vgg")
VGG_COMPONENT = "vgg"
VGG_SIDE = 256  # pixels that VGG looks at, as published: it was made for about as many


@dataclass(frozen=True)
class Distance:
    """What is looked at in images, and how far two of them are from each other by it.

    Attributes:
        name: one of `DISTANCES`.
        vgg: for that distance, the network; its variables are the component `VGG_COMPONENT`.
    """

    name: str
    vgg: VGGConfig | None = None

    def features(self, players: StylePlayers, variables: Variables, images: Float[Array, "batch height width c"]) -> Features:
        """Of images in [-1, 1]."""
        if self.name == "pixels":
            return (images,)
        if self.name == "discriminator":
            return players.features(variables, images)
        count, side, _, channels = images.shape
        if (factor := side // VGG_SIDE) > 1:
            images = images.reshape(count, side // factor, factor, side // factor, factor, channels).mean((2, 4))
        seen = VGG(self.vgg).apply(variables[VGG_COMPONENT], jnp.broadcast_to(images, (*images.shape[:3], 3)))
        return tuple(x / jnp.sqrt(jnp.square(x).sum(-1, keepdims=True) + 1e-10) for x in seen.values())

    def between(self, one: Features, other: Features) -> Float[Array, "batch"]:
        """Mean squares of pixels; means of absolute differences of the discriminator's features, added up over its blocks; and
        squared lengths of differences of VGG's, each place's of length 1, as LPIPS has them before it weights features."""
        if self.name == "discriminator":
            return sum(jnp.abs(a - b).mean((1, 2, 3)) for a, b in zip(one, other, strict=True))
        kept = 1 if self.name == "vgg" else one[0].shape[-1]
        return sum(jnp.square(a - b).sum(-1).mean((1, 2)) for a, b in zip(one, other, strict=True)) / kept


def load_vgg(file: str) -> tuple[VGGConfig, Mapping[str, Any]]:
    """The network and its variables. Raises RequestError: no such file, or one of something else."""
    path = Path(file).expanduser()
    try:
        if public_files.is_vgg(path):
            return public_files.load("vgg", path)
    except CheckpointError as error:
        raise RequestError(f"--vgg: {error}") from error
    raise RequestError(f"--vgg={file} holds no tensor named features.*; give torchvision's file of vgg16 or vgg19.")
