"""What a generator may want beside fooling the discriminator: that its examples look to it, layer by layer, as real ones do.

Nothing is learned from this by whoever gives the features of real examples: no gradient goes there.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def feature_matching(
    real: Sequence[Float[Array, "batch *places"]], fake: Sequence[Float[Array, "batch *places"]]
) -> Float[Array, ""]:
    """The sum over layers of the mean absolute difference of their features (Wang et al., 2018, pix2pixHD, equation 4).

    Args:
        real, fake: of each layer but the last, of a real and of a generated example for the same condition.
    """
    pairs = zip(real, fake, strict=True)
    return sum((jnp.abs(jax.lax.stop_gradient(one) - other).mean() for one, other in pairs), jnp.zeros(()))


def mean_feature_matching(real: Float[Array, "reals *places"], fake: Float[Array, "fakes *places"]) -> Float[Array, ""]:
    """The squared distance between the mean features of real and of generated examples, which need not be pairs (Salimans et al.,
    2016, section 3.1).

    Args:
        real, fake: of one layer.
    """
    return jnp.square(jax.lax.stop_gradient(real).mean(0) - fake.mean(0)).sum()
