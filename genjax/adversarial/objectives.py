"""What the two players of a GAN want: losses of one example each, as functions of the critic's logits.

A discriminator's loss is of a real and of a generated example; the two parts add up, so that each may come from a batch of its
own. All are minimized.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Logits = Float[Array, "*examples"]
ObjectiveName = Literal["minimax", "non_saturating", "least_squares", "wasserstein", "hinge"]


class Objective(NamedTuple):
    """The three parts of an objective, each a function of logits, elementwise.

    Attributes:
        real, fake: the discriminator's losses of real and of generated examples.
        generator: the generator's loss of what it generated.
        boundary: the logit above which the discriminator takes an example for real; None: there is no such logit.
    """

    real: Callable[[Logits], Logits]
    fake: Callable[[Logits], Logits]
    generator: Callable[[Logits], Logits]
    boundary: float | None = 0.0


OBJECTIVES: Mapping[ObjectiveName, Objective] = MappingProxyType(
    {
        # Goodfellow et al., 2014, equation 1, where the generator minimizes what the discriminator maximizes.
        "minimax": Objective(
            real=lambda logits: jax.nn.softplus(-logits),
            fake=jax.nn.softplus,
            generator=lambda logits: -jax.nn.softplus(logits),
        ),
        # The same paper, section 3: the generator maximizes log D(G(z)), whose gradient does not vanish as it loses.
        "non_saturating": Objective(
            real=lambda logits: jax.nn.softplus(-logits),
            fake=jax.nn.softplus,
            generator=lambda logits: jax.nn.softplus(-logits),
        ),
        # Mao et al., 2017, equation 9 (a = 0, b = c = 1).
        "least_squares": Objective(
            real=lambda logits: 0.5 * jnp.square(logits - 1),
            fake=lambda logits: 0.5 * jnp.square(logits),
            generator=lambda logits: 0.5 * jnp.square(logits - 1),
            boundary=0.5,
        ),
        # Arjovsky et al., 2017, equation 2; the critic must be held to a slope, by a penalty or its norm.
        "wasserstein": Objective(
            real=lambda logits: -logits,
            fake=lambda logits: logits,
            generator=lambda logits: -logits,
            boundary=None,
        ),
        # Lim and Ye, 2017; Miyato et al., 2018, equations 16 and 17.
        "hinge": Objective(
            real=lambda logits: jax.nn.relu(1 - logits),
            fake=lambda logits: jax.nn.relu(1 + logits),
            generator=lambda logits: -logits,
        ),
    }
)


def relativistic(logits: Float[Array, "batch"], others: Float[Array, "batch"]) -> Float[Array, "batch"]:
    """How much more real than the others' average: the logits of the relativistic average GAN (Jolicoeur-Martineau, 2018,
    equation 7), which ESRGAN trains with. Both players' losses of real and generated examples are of these."""
    return logits - others.mean()
