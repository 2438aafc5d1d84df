"""Whether a generator has collapsed: how far apart its samples lie, and which modes of the data it reaches."""

from collections.abc import Sequence

import jax.numpy as jnp
from jaxtyping import Array, Float

REACH = 3.0  # deviations within which a sample counts for a mode (Metz et al., 2017; Lin et al., 2018)
COVERED = 0.1  # of a mode's fair share of samples, for it to count as covered


def pairwise_distances(
    samples: Float[Array, "batch *shape"], weights: Float[Array, "batch"]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """The sum over all pairs of samples of their distance (root mean square over a sample's numbers), and the pairs' weight.

    Args:
        weights: 1; 0 for rows that are no samples.
    """
    flat = samples.reshape(len(samples), -1).astype(jnp.float32)
    squares = jnp.square(flat).sum(1)
    # Highest precision: the distance of near samples is a small difference of large numbers.
    products = jnp.matmul(flat, flat.T, precision="highest")
    apart = jnp.sqrt(jnp.maximum(squares[:, None] + squares[None] - 2 * products, 0.0) / flat.shape[1])
    pairs = weights[:, None] * weights[None] * (1 - jnp.eye(len(flat)))
    return (apart * pairs).sum(), pairs.sum()


def mode_shares(
    points: Float[Array, "batch axes"],
    centers: Float[Array, "modes axes"],
    deviation: float,
    weights: Float[Array, "batch"],
) -> Float[Array, "modes"]:
    """The weight of points whose nearest mode is each, and within `REACH` deviations of it."""
    away = jnp.sqrt(jnp.square(points[:, None] - centers[None]).sum(-1))
    near = (away.min(1) < REACH * deviation) * weights
    return ((jnp.argmin(away, axis=1)[:, None] == jnp.arange(len(centers))) * near[:, None]).sum(0)


def covered_modes(shares: Sequence[float]) -> int:
    """How many modes have at least a tenth of the samples that would be theirs if all had as many.

    Args:
        shares: of all samples, by mode.
    """
    return sum(share >= COVERED / len(shares) for share in shares)
