"""What a denoiser is trained by: levels drawn, noise added, and how much an error counts at each level."""

import math
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from genjax.diffusion.predictions import Kind, edm_output_scales, over
from genjax.diffusion.schedules import DiscreteSchedule
from genjax.errors import ConfigError

Weighting = Literal["simple", "epsilon", "sample", "v", "min_snr", "soft_min_snr", "edm"]
WEIGHTINGS: tuple[Weighting, ...] = ("simple", "epsilon", "sample", "v", "min_snr", "soft_min_snr", "edm")


def log_normal(share: Float[Array, "batch"], mean: float = -1.2, std: float = 1.2) -> Float[Array, "batch"]:
    """sigma whose logarithm is Gaussian, where `share` in [0, 1) is even (Karras et al., 2022, table 1, "noise distribution")."""
    return jnp.exp(_gaussian(share, mean, std))


def logit_normal(share: Float[Array, "batch"], mean: float = 0.0, std: float = 1.0) -> Float[Array, "batch"]:
    """Times in (0, 1) whose logit is Gaussian (Esser et al., 2024, equation 19): more in the middle, where flow is hard."""
    return jax.nn.sigmoid(_gaussian(share, mean, std))


def _gaussian(share, mean: float, std: float):
    edge = 1e-6  # of an even share in float32, whose Gaussian would be infinite at 0
    return mean + std * jax.scipy.special.ndtri(jnp.clip(share, edge, 1 - edge))


def draw_even(key: Key[Array, ""], count: int) -> Float[Array, "count"]:
    """Times in [0, 1), one in each of `count` equal parts up to a common shift, so that a batch covers them evenly (Kingma et
    al., 2021, appendix I.1); in the batch's order they are shuffled."""
    shift, order = jax.random.split(key)
    return jax.random.permutation(order, (jax.random.uniform(shift) + jnp.arange(count) / count) % 1.0)


def draw_noise(key: Key[Array, ""], shape: tuple[int, ...], offset: float = 0.0) -> Float[Array, "batch *shape channels"]:
    """Gaussian noise; `offset` times as much is common to all places of a channel, so that a network learns to make images darker
    or brighter as a whole (noise offset; N. Guttenberg, 2023)."""
    plain, common = jax.random.split(key)
    noise = jax.random.normal(plain, shape)
    if not offset:
        return noise
    return noise + offset * jax.random.normal(common, (shape[0], *[1] * (len(shape) - 2), shape[-1]))


def loss_weight(
    kind: Kind,
    weighting: Weighting,
    alpha: Float[Array, "batch"],
    sigma: Float[Array, "batch"],
    *,
    gamma: float = 5.0,
    sigma_data: float = 0.5,
) -> Float[Array, "batch"]:
    """What the squared error of a network's output is multiplied by, so that the error of the clean sample counts

        simple         as the network's own kind has it: 1 here
        epsilon        snr: the "simple" loss of DDPM (Ho et al., 2020, equation 14), for any kind
        sample         1
        v              snr + 1
        min_snr        min(snr, gamma) (Hang et al., 2023, equation 7)
        soft_min_snr   snr gamma / (snr + gamma) (Crowson et al., 2024, equation 10, with gamma = 1 / sigma_data^2 = 4)
        edm            snr + 1 / sigma_data^2 (Karras et al., 2022, table 1, "loss weighting")

    with snr = (alpha / sigma)^2.

    Raises:
        ConfigError: another weighting.
    """
    snr = (alpha / sigma) ** 2
    if weighting == "simple":
        return jnp.ones_like(sigma)
    if weighting not in WEIGHTINGS:
        raise ConfigError(f"unknown loss weighting '{weighting}'; use one of {', '.join(WEIGHTINGS)}.")
    counts = {
        "epsilon": snr,
        "sample": jnp.ones_like(sigma),
        "v": snr + 1,
        "min_snr": jnp.minimum(snr, gamma),
        "soft_min_snr": snr * gamma / (snr + gamma),
        "edm": snr + 1 / sigma_data**2,
    }[weighting]
    return counts * _clean_error(kind, alpha, sigma, sigma_data)


def _clean_error(kind: Kind, alpha, sigma, sigma_data: float):
    """The squared error of the clean sample for one of the network's output."""
    if kind == "epsilon":
        return (sigma / alpha) ** 2
    if kind == "score":
        return (sigma**2 / alpha) ** 2
    if kind == "v":
        return (sigma / (alpha**2 + sigma**2)) ** 2
    if kind == "flow":
        return (sigma / (alpha + sigma)) ** 2
    return edm_output_scales(alpha, sigma, sigma_data)[1] ** 2 if kind == "edm" else jnp.ones_like(sigma)


def uncertain(loss: Float[Array, "batch"], log_variance: Float[Array, "batch"]) -> Float[Array, "batch"]:
    """A loss that a learned function of the level brings to the same size at every level (Karras et al., 2024, EDM2, equation 21;
    Kendall et al., 2018)."""
    return loss * jnp.exp(-log_variance) + log_variance


def gaussian_kl(mean1, log_variance1, mean2, log_variance2):
    """KL(first || second) of Gaussians, in nats, elementwise."""
    return 0.5 * (
        log_variance2
        - log_variance1
        - 1
        + jnp.exp(log_variance1 - log_variance2)
        + (mean1 - mean2) ** 2 * jnp.exp(-log_variance2)
    )


def discretized_log_likelihood(
    x: Float[Array, "*shape"], mean: Float[Array, "*shape"], log_std: Float[Array, "*shape"], levels: int = 256
) -> Float[Array, "*shape"]:
    """The log-probability that a Gaussian gives the step of x among `levels` even ones in [-1, 1] (Ho et al., 2020, equation 13);
    the lowest and the highest step reach to infinity."""
    half = 1 / (levels - 1)
    scale = jnp.exp(-log_std)
    above, below = scale * (x - mean + half), scale * (x - mean - half)
    logcdf = jax.scipy.stats.norm.logcdf
    lowest, highest = logcdf(above), logcdf(-below)
    # Where both ends lie on one side, the difference is taken of the smaller tails, which float32 keeps apart.
    right = below > 0
    high = jnp.where(right, highest, lowest)
    low = jnp.where(right, logcdf(-above), logcdf(below))
    inside = high + jnp.log(-jnp.expm1(jnp.minimum(low - high, -1e-7)))
    return jnp.where(x < -1 + half, lowest, jnp.where(x > 1 - half, highest, inside))


def variational_bound(
    clean: Float[Array, "batch *shape"],
    x: Float[Array, "batch *shape"],
    predicted: Float[Array, "batch *shape"],
    log_variance: Float[Array, "batch *shape"],
    start: tuple[Float[Array, "batch"], Float[Array, "batch"]],
    end: tuple[Float[Array, "batch"], Float[Array, "batch"]],
) -> Float[Array, "batch"]:
    """A term of the variational bound of DDPM, in bits a dimension (Ho et al., 2020, equation 5; Nichol and Dhariwal, 2021,
    equation 4): the KL of a step's posterior from what the network says of it or, into the clean sample, the log-likelihood.

    Args:
        x: the sample at `start`.
        predicted: the network's clean sample.
        log_variance: of the network's step (`log_variance_bounds` says between what).
        start, end: (alpha, sigma) that the step goes from and to; where the end has no noise, it is the last step.
    """
    (alpha, sigma), (alpha_end, sigma_end) = (tuple(over(part, x) for part in level) for level in (start, end))
    scale = alpha / alpha_end
    forward = sigma**2 - (scale * sigma_end) ** 2
    weights = scale * sigma_end**2 / sigma**2, alpha_end * forward / sigma**2
    mean, true_mean = (weights[0] * x + weights[1] * of for of in (predicted, clean))
    last = sigma_end <= 0
    true_log_variance = jnp.log(jnp.where(last, 1.0, forward * sigma_end**2 / sigma**2))
    divergence = gaussian_kl(true_mean, true_log_variance, mean, log_variance)
    likelihood = -discretized_log_likelihood(clean, mean, 0.5 * log_variance)
    return jnp.where(last, likelihood, divergence).reshape(len(x), -1).mean(1) / math.log(2)


def log_variance_bounds(schedule: DiscreteSchedule) -> tuple[Float[np.ndarray, "steps"], Float[np.ndarray, "steps"]]:
    """Of the step from each timestep to the one before: the posterior's log-variance and that of the forward step, between which
    a learned one lies (Nichol and Dhariwal, 2021, equation 15). The posterior's of the last step, which is 0, is that of the step
    before it."""
    betas = np.asarray(schedule.betas, np.float64)
    left = np.cumprod(1 - betas)
    small = betas[1:] * (1 - left[:-1]) / (1 - left[1:])
    return np.log(np.append(small[:1], small)), np.log(betas)


def prior_bound(clean: Float[Array, "batch *shape"], alpha: float, sigma: float) -> Float[Array, "batch"]:
    """The bound's term for the noisiest level, in bits a dimension: the KL of x there from N(0, 1)."""
    divergence = gaussian_kl(alpha * clean, 2 * jnp.log(sigma), 0.0, 0.0)
    return divergence.reshape(len(clean), -1).mean(1) / math.log(2)
