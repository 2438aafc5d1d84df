"""Power-function averages of variables, and any other out of stored ones (Karras et al., 2024, section 3 and appendix C).

An average at step T weighs the variables of step t by (t / T)^gamma: it grows with the run, and its width is a share of it. That
share, the standard deviation of the weights over T, names the average. Few of them, stored along a run, give all others
afterwards: their weights are basis functions, of which a small linear system makes the wanted ones.
"""

import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

WIDEST = 1 / math.sqrt(12)  # of gamma 0, the plain mean


def power_name(std: float) -> str:
    """What a run's state calls the average of this relative width; exponential ones are called by their decay."""
    return f"std{float(std)}"


def exponent(std: float) -> float:
    """Gamma of a relative width in (0, WIDEST]: the largest root of (gamma + 2)^2 (gamma + 3) = (gamma + 1) / std^2
    (equation 126, algorithm 2)."""
    target = float(std) ** -2
    return max(0.0, float(np.roots([1, 7, 16 - target, 12 - target]).real.max()))


def update_rate(step: Array, std: float) -> Float[Array, ""]:
    """How far the average moves to the variables of `step`, which counts from 1: 1 - (1 - 1 / step)^(gamma + 1) (equation 127),
    also where that is far below the spacing of float32 around 1."""
    return -jnp.expm1((exponent(std) + 1) * jnp.log1p(-1 / jnp.asarray(step, jnp.float32)))


def combination(
    steps: Float[np.ndarray, " stored"], stds: Float[np.ndarray, " stored"], step: int, std: float
) -> tuple[Float[np.ndarray, " stored"], float]:
    """How to add up stored averages to that of relative width `std` at `step` (algorithm 3).

    Args:
        steps, stds: of the stored averages, none twice; none later than `step`.

    Returns:
        Factors that add up to 1; and how far the weights that they make are from the wanted ones, as a share of these (both by
        their root of summed squares). A stored average has itself as its only part.
    """
    times, gammas = np.asarray(steps, np.float64), np.array([exponent(s) for s in stds])
    wanted = exponent(std)
    among = _inner(times[:, None], gammas[:, None], times, gammas)
    with_wanted = _inner(times, gammas, float(step), wanted)
    size = float(_inner(float(step), wanted, float(step), wanted))
    scale = 1 / np.sqrt(np.diag(among))  # averages of unit norm: a better-conditioned system
    factors = scale * np.linalg.solve(among * scale[:, None] * scale, with_wanted * scale)
    factors /= factors.sum()
    squared = 1 + (factors @ among @ factors - 2 * factors @ with_wanted) / size
    return factors, math.sqrt(max(0.0, squared))


def _inner(a_time, a_gamma, b_time, b_gamma) -> Float[np.ndarray, "..."]:
    """The integral of the product of two profiles (equation 151)."""
    ratio = np.minimum(a_time, b_time) / np.maximum(a_time, b_time)
    later = np.where(np.less(a_time, b_time), b_gamma, a_gamma)
    return (a_gamma + 1) * (b_gamma + 1) / (a_gamma + b_gamma + 1) * ratio**later / np.maximum(a_time, b_time)
