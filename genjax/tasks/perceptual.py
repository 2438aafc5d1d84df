"""How different two images look to a network that was trained on something else (Johnson et al., 2016; Zhang et al., 2018)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from flax import traverse_util
from jaxtyping import Array, Float

from genjax.models.transformer import Block
from genjax.models.vgg import VGG, VGGConfig
from genjax.models.vgg import forward_flops as vgg_flops
from genjax.models.vit import flops_per_image
from genjax.tasks.classification import Classification
from genjax.tasks.contract import Task
from genjax.tasks.contrastive import Contrastive
from genjax.tasks.image_batches import normalize

Images = Float[Array, "batch height width channels"]


class Perceptual(Protocol):
    """A network of features, and how it is asked."""

    def init(self, key: jax.Array, shape: tuple[int, int, int]) -> Mapping[str, Any]:
        """Fresh variables, for images of a shape."""

    def maps(self, variables: Mapping[str, Any], images: Images) -> list[Array]:
        """What layers make of images in [-1, 1]: [batch, places, features] each."""

    def flops(self, shape: tuple[int, int, int]) -> float:
        """Of a forward pass over one image."""


def compares_images(task: Task) -> bool:
    """Whether a task's network sees patches behind a class token, in layers that are apart: a ViT, or the tower of a CLIP."""
    if isinstance(task, Classification):
        return not task.model_config.scan_layers
    return isinstance(task, Contrastive) and task.has_patches and not task.model_config.image.scan_layers


@dataclass(frozen=True)
class TransformerFeatures:
    """All blocks of a classifier, or of the image tower of a contrastive model, at its patches.

    Attributes:
        task: one of which `compares_images` is true.
    """

    task: Classification | Contrastive

    @property
    def component(self) -> str:
        """Of the task, that has the network."""
        return "vit" if isinstance(self.task, Classification) else "towers"

    @property
    def channels(self) -> int:
        return (self.task.model_config if isinstance(self.task, Classification) else self.task.info).channels

    def init(self, key, shape):
        return self.task.init(key)[self.component]

    def maps(self, variables, images):
        p, channels = self.task.preprocessor, self.channels
        if channels == 1:
            images = images.mean(-1, keepdims=True)
        images = jnp.broadcast_to(images, (*images.shape[:3], channels))
        if images.shape[1:3] != (p.height, p.width):
            images = jax.image.resize(images, (len(images), p.height, p.width, channels), "linear", antialias=True)
        blocks = lambda module, method: isinstance(module, Block) and method == "__call__"  # noqa: E731
        _, found = self.task.model.apply(
            variables,
            normalize((images + 1) * 127.5, p),
            capture_intermediates=blocks,
            mutable=["intermediates"],
            method="features" if self.component == "vit" else "encode_images",
        )
        outputs = traverse_util.flatten_dict(found["intermediates"])  # attention's weights too
        calls = [path for path in outputs if path[-1] == "__call__"]
        in_order = sorted(calls, key=lambda path: int(path[-2].rpartition("_")[2]))
        return [outputs[path][0][0].x[:, 1:] for path in in_order]

    def flops(self, shape):
        if isinstance(self.task, Classification):
            return flops_per_image(self.task.model_config) / 3
        return self.task.image_flops / 3


@dataclass(frozen=True)
class VGGFeatures:
    """The layers of a VGG that its config names."""

    config: VGGConfig

    def init(self, key, shape):
        return VGG(self.config).init(key, jnp.zeros((1, *shape[:2], 3)))

    def maps(self, variables, images):
        images = jnp.broadcast_to(images, (*images.shape[:3], 3))
        found = VGG(self.config).apply(variables, images)
        return [layer.reshape(len(layer), -1, layer.shape[-1]) for layer in found.values()]

    def flops(self, shape):
        return vgg_flops(self.config, shape[0])


def distance(ours: list[Array], theirs: list[Array]) -> Float[Array, "batch"]:
    """The squared distance of the vectors at each place, brought to length 1: averaged over places, added up over layers.

    Zhang et al., 2018, equation 1, where all features weigh the same.
    """
    unit = lambda x: x / jnp.sqrt(jnp.square(x).sum(-1, keepdims=True) + 1e-10)  # noqa: E731
    return sum(jnp.square(unit(one) - unit(other)).sum(-1).mean(-1) for one, other in zip(ours, theirs, strict=True))
