"""What a decoder says of pixels: how its outputs are compared with an image, and the image that they stand for."""

import math
from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from genjax.models.openai_dvae import MARGIN, within_margin

PixelName = Literal["absolute", "squared", "logit_laplace"]


class Pixels(NamedTuple):
    """One way.

    Attributes:
        loss: of outputs and images in [-1, 1], for each number of an image; in nats where the outputs are a distribution.
        image: outputs to images in [-1, 1].
        outputs: numbers of the decoder for each of an image.
    """

    loss: Callable[[Array, Array], Array]
    image: Callable[[Array], Array]
    outputs: int = 1


def logit_laplace(
    outputs: Float[Array, "*lead parameters"], images: Float[Array, "*lead channels"]
) -> Float[Array, "*lead channels"]:
    """The negative log-density of pixels in nats; outputs are locations, then log-scales (Ramesh et al., 2021, equation 2)."""
    location, log_scale = jnp.split(outputs, 2, axis=-1)
    x = within_margin(images)
    logit = jnp.log(x) - jnp.log1p(-x)
    return jnp.abs(logit - location) * jnp.exp(-log_scale) + log_scale + math.log(2) + jnp.log(x * (1 - x))


def _median(outputs: Float[Array, "*lead parameters"]) -> Float[Array, "*lead channels"]:
    """Of a logit-Laplace distribution."""
    location, _ = jnp.split(outputs, 2, axis=-1)
    return jnp.clip((jax.nn.sigmoid(location) - 0.5) / (0.5 - MARGIN), -1, 1)


PIXELS: Mapping[PixelName, Pixels] = {
    "absolute": Pixels(lambda outputs, images: jnp.abs(outputs - images), lambda outputs: outputs),
    "squared": Pixels(lambda outputs, images: jnp.square(outputs - images), lambda outputs: outputs),
    "logit_laplace": Pixels(logit_laplace, _median, 2),
}
