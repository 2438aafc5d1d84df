"""Directions in which a generator's styles differ most (GANSpace; Härkönen et al., 2020, section 3.1): principal components."""

import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int


@struct.dataclass
class Directions:
    """Principal components, by falling deviation.

    Attributes:
        components: each a row of length 1, whose entry furthest from 0 is positive: the one sign of two that is always found.
        deviations: of the samples along each.
    """

    components: Float[Array, "components width"]
    deviations: Float[Array, "components"]


def principal(samples: Float[Array, "samples width"]) -> Directions:
    """As many as there are numbers; those beyond the samples' rank have a deviation of about 0."""
    centred = samples - samples.mean(0)
    covariance = jnp.matmul(centred.T, centred, precision="highest") / (len(samples) - 1)
    variances, vectors = jnp.linalg.eigh(covariance)  # rising
    components, variances = vectors.T[::-1], variances[::-1]
    largest = jnp.take_along_axis(components, jnp.abs(components).argmax(1, keepdims=True), axis=1)
    return Directions(components * jnp.sign(largest), jnp.sqrt(jnp.maximum(variances, 0)))


def shifted(
    styles: Float[Array, "batch layers width"],
    directions: Directions,
    component: Int[Array, "batch"],
    strength: Float[Array, "batch"],
    layers: Bool[Array, "batch layers"],
) -> Float[Array, "batch layers width"]:
    """w + V x in some layers, where x is `strength`, in deviations, for one component and 0 for the others."""
    move = (strength * directions.deviations[component])[:, None] * directions.components[component]
    return styles + jnp.where(layers[..., None], move[:, None], 0)
