"""Adaptive discriminator augmentation (Karras et al., 2020: "Training generative adversarial networks with limited data").

The discriminator sees every image, real or generated, changed at random; how often is moved during training by how sure it is
of real images. All changes are differentiable, so that the generator learns through them.
"""

import functools
import math
from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Key

from genjax.errors import ConfigError
from genjax.layers.affine import affine, stretch_matrix, turn_matrix

# Appendix B, table 3: what each pipeline does.
PIPELINES = {"b": ("blit",), "bg": ("blit", "geometry"), "bgc": ("blit", "geometry", "color")}
GREY = (3**-0.5, 3**-0.5, 3**-0.5)  # the axis of brightness


@dataclass(frozen=True)
class AdaConfig:
    """How images are augmented before the discriminator.

    Attributes:
        pipeline: pixel blits (b), with geometric changes (bg), with changes of colour (bgc); "": none.
        probability: of each change at the start; for good, where target is 0.
        target: the mean sign of real images' logits that the probability is steered to; 0: it stays as it is.
        kimg: thousands of images in which the probability can go from 0 to 1.
        interval: batches between two moves of the probability.
    """

    pipeline: Literal["", "b", "bg", "bgc"] = ""
    probability: float = 0.0
    target: float = 0.6
    kimg: float = 500.0
    interval: int = 4

    def __post_init__(self):
        if not 0 <= self.probability <= 1 or not 0 <= self.target < 1:
            raise ConfigError(
                f"ada.probability lies from 0 to 1 and ada.target below 1, but they are {self.probability} and {self.target}."
            )
        if self.kimg <= 0 or self.interval < 1:
            raise ConfigError(f"ada.kimg and ada.interval must be positive, but are {self.kimg} and {self.interval}.")

    @property
    def adapts(self) -> bool:
        return bool(self.pipeline) and self.target > 0


@struct.dataclass
class AdaState:
    """What is remembered from batch to batch.

    Attributes:
        probability: of each change.
        signs: the sum of signs of real images' logits since the probability was moved last.
        images: how many they were.
    """

    probability: Float[Array, ""]
    signs: Float[Array, ""]
    images: Float[Array, ""]

    def as_collection(self) -> dict[str, Array]:
        return {"probability": self.probability, "signs": self.signs, "images": self.images}


def start(config: AdaConfig) -> AdaState:
    zero = jnp.zeros((), jnp.float32)
    return AdaState(jnp.asarray(config.probability, jnp.float32), zero, zero)


def adapt(config: AdaConfig, state: AdaState, real_logits: Float[Array, "batch"], batch_size: int) -> AdaState:
    """The state after a batch (or a microbatch) of real images.

    When `interval` batches have been seen, the probability moves by as much as brings it from 0 to 1 in `kimg` thousand images:
    up where the mean sign is above the target, else down (section 3.2, r_t). It stays within [0, 1].

    Args:
        batch_size: of a whole batch.
    """
    signs = state.signs + jnp.sign(real_logits.astype(jnp.float32)).sum()
    images = state.images + len(real_logits)
    due = images >= config.interval * batch_size
    move = jnp.sign(signs / images - config.target) * images / (1000 * config.kimg)
    moved = jnp.clip(state.probability + move, 0, 1)
    return AdaState(jnp.where(due, moved, state.probability), jnp.where(due, 0.0, signs), jnp.where(due, 0.0, images))


def augment(
    key: Key[Array, ""],
    images: Float[Array, "batch height width channels"],
    probability: Float[Array, ""] | float,
    pipeline: str,
) -> Float[Array, "batch height width channels"]:
    """Images, each changed in some ways; beyond its edges an image goes on as its reflection.

    Args:
        images: in [-1, 1], of one or three channels; the result may lie outside of it.
        probability: of each change; traced.
        pipeline: a key of `PIPELINES`.

    Raises:
        ConfigError: colours to change in images that have another number of channels.
    """
    if images.shape[-1] not in (1, 3) and "color" in PIPELINES[pipeline]:
        raise ConfigError(
            f"images of {images.shape[-1]} channels have no colours that ada.pipeline 'bgc' could change; use 'bg'."
        )
    geometry_key, color_key = jax.random.split(key)
    with jax.default_matmul_precision("highest"):
        maps = geometric_maps(geometry_key, images.shape, probability, "geometry" in PIPELINES[pipeline])
        changed = (maps != jnp.eye(2, 3)).any(axis=(1, 2))[:, None, None, None]
        images = jnp.where(changed, affine(images, maps), images)
        if "color" not in PIPELINES[pipeline]:
            return images
        return recolor(images, color_maps(color_key, len(images), probability))


def geometric_maps(
    key: Key[Array, ""], shape: tuple[int, ...], probability: Float[Array, ""] | float, all_changes: bool = True
) -> Float[Array, "batch 2 3"]:
    """Maps from a pixel's place in the result to its place in the image, as `layers.affine.affine` takes them (appendix B, figure
    25, steps 1 to 9).

    Args:
        shape: of the images.
        all_changes: whether there is more than flips, quarter turns and whole pixels.
    """
    batch = shape[0]
    keys = iter(jax.random.split(key, 20))
    uniform = lambda low=0.0, high=1.0: jax.random.uniform(next(keys), (batch,), minval=low, maxval=high)  # noqa: E731
    normal = lambda: jax.random.normal(next(keys), (batch,))  # noqa: E731
    angles = lambda: uniform(-math.pi, math.pi)  # noqa: E731
    sometimes = lambda value, neutral, share=probability: jnp.where(uniform() < share, value, neutral)  # noqa: E731
    one = jnp.ones(batch)
    # Each step changes the image that those before it made, so that its inverse stands to the right of theirs.
    steps = [
        _linear(stretch_matrix(sometimes(jnp.sign(uniform(-1.0)), 1.0), one)),
        _linear(turn_matrix(sometimes(jnp.floor(uniform(0.0, 4.0)), 0.0) * (math.pi / 2))),
        _shift(*(jnp.round(sometimes(jnp.stack([uniform(-0.125, 0.125), uniform(-0.125, 0.125)]), 0.0) * _sides(shape)))),
    ]
    if all_changes:
        larger, wider = (2.0 ** sometimes(0.2 * normal(), 0.0) for _ in range(2))
        once = 1 - jnp.sqrt(1 - jnp.asarray(probability, jnp.float32))  # of two turns, so that an image is turned with p
        steps += [
            _linear(stretch_matrix(1 / larger, 1 / larger)),
            _linear(turn_matrix(sometimes(angles(), 0.0, once))),
            _linear(stretch_matrix(1 / wider, wider)),
            _linear(turn_matrix(sometimes(angles(), 0.0, once))),
            _shift(*(sometimes(jnp.stack([0.125 * normal(), 0.125 * normal()]), 0.0) * _sides(shape))),
        ]
    return functools.reduce(jnp.matmul, steps)[:, :2]


def color_maps(key: Key[Array, ""], batch: int, probability: Float[Array, ""] | float) -> Float[Array, "batch 3 4"]:
    """Affine maps of (red, green, blue, 1): brightness, contrast, light turned to dark, hue, saturation (the same figure, steps
    10 to 14)."""
    keys = iter(jax.random.split(key, 12))
    uniform = lambda low=0.0, high=1.0: jax.random.uniform(next(keys), (batch,), minval=low, maxval=high)  # noqa: E731
    sometimes = lambda value, neutral: jnp.where(uniform() < probability, value, neutral)  # noqa: E731
    normal = lambda: jax.random.normal(next(keys), (batch,))  # noqa: E731
    over = lambda value: value[:, None, None]  # noqa: E731
    same, axis = jnp.eye(3), jnp.asarray(GREY)
    grey = jnp.outer(axis, axis)
    brightness, contrast = sometimes(0.2 * normal(), 0.0), 2.0 ** sometimes(0.5 * normal(), 0.0)
    turned = sometimes(jnp.floor(uniform(0.0, 2.0)), 0.0)
    angle, saturation = sometimes(uniform(-math.pi, math.pi), 0.0), 2.0 ** sometimes(normal(), 0.0)
    # Rodrigues' formula: a turn around the axis of brightness.
    across = jnp.cross(jnp.eye(3), axis)
    hue = over(jnp.cos(angle)) * same + over(jnp.sin(angle)) * across + over(1 - jnp.cos(angle)) * grey
    linear = (grey + over(saturation) * (same - grey)) @ hue @ (same - 2 * over(turned) * grey) * over(contrast)
    return jnp.concatenate([linear, linear @ jnp.broadcast_to(brightness[:, None, None], (batch, 3, 1))], axis=-1)


def recolor(
    images: Float[Array, "batch height width channels"], maps: Float[Array, "batch 3 4"]
) -> Float[Array, "batch height width channels"]:
    """Colours through affine maps; one channel as the mean of the three that it would stand for."""
    if images.shape[-1] == 1:
        maps = maps.mean(1, keepdims=True)
        maps = jnp.concatenate([maps[..., :3].sum(-1, keepdims=True), maps[..., 3:]], axis=-1)
    moved = jnp.einsum("bhwi,boi->bhwo", images.astype(jnp.float32), maps[..., :-1]) + maps[:, None, None, :, -1]
    return moved.astype(images.dtype)


def _sides(shape: tuple[int, ...]) -> Float[Array, "2 1"]:
    _, height, width, _ = shape
    return jnp.array([[width], [height]], jnp.float32)


def _linear(matrix: Float[Array, "batch 2 2"]) -> Float[Array, "batch 3 3"]:
    return jnp.pad(matrix, ((0, 0), (0, 1), (0, 1))) + jnp.diag(jnp.array([0.0, 0.0, 1.0]))


def _shift(x: Float[Array, "batch"], y: Float[Array, "batch"]) -> Float[Array, "batch 3 3"]:
    return jnp.eye(3) + jnp.pad(jnp.stack([x, y], axis=-1)[:, :, None], ((0, 0), (0, 1), (2, 0)))
