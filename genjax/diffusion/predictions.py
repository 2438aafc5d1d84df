"""Parameterizations: what a network predicts, and the clean sample and the noise that follow from it.

At x = alpha clean + sigma noise, each of these tells both:

    epsilon    the noise (Ho et al., 2020)
    sample     the clean sample
    v          alpha noise - sigma clean (Salimans and Ho, 2022, section 4 and appendix D)
    score      the gradient of the log-density, -noise / sigma (Song et al., 2021)
    flow       the velocity of the straight line, noise - clean (Lipman et al., 2023)
    edm        F in clean = c_skip x + c_out F (Karras et al., 2022, table 1 and equation 7)
"""

from typing import Literal, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from genjax.errors import ConfigError

Kind = Literal["epsilon", "sample", "v", "score", "flow", "edm"]
KINDS: tuple[Kind, ...] = ("epsilon", "sample", "v", "score", "flow", "edm")


class Prediction(NamedTuple):
    """What a denoiser says of x.

    Attributes:
        clean: the expected clean sample.
        noise: the noise in x, (x - alpha clean) / sigma.
        variance: where the network learns it, in [0, 1]: how far the log-variance of a DDPM step lies from the smaller of its
            two bounds to the larger (Nichol and Dhariwal, 2021, equation 15); else None.
    """

    clean: Float[Array, "batch *shape"]
    noise: Float[Array, "batch *shape"]
    variance: Float[Array, "batch *shape"] | None = None


def predict(
    kind: Kind,
    output: Float[Array, "batch *shape"],
    x: Float[Array, "batch *shape"],
    alpha: Float[Array, "*levels"],
    sigma: Float[Array, "*levels"],
    sigma_data: float = 0.5,
) -> Prediction:
    """The clean sample and the noise from a network's output at x.

    Args:
        alpha, sigma: of x; a number, or one for each of the batch.
        sigma_data: of "edm": the data's standard deviation.
    """
    alpha, sigma = (over(level, x) for level in (alpha, sigma))
    if kind == "epsilon":
        return Prediction((x - sigma * output) / alpha, output)
    if kind == "score":
        return Prediction((x + sigma**2 * output) / alpha, -sigma * output)
    if kind == "v":
        scale = 1 / (alpha**2 + sigma**2)
        return Prediction(scale * (alpha * x - sigma * output), scale * (sigma * x + alpha * output))
    if kind == "flow":
        scale = 1 / (alpha + sigma)
        return Prediction(scale * (x - sigma * output), scale * (x + alpha * output))
    if kind == "sample":
        clean = output
    elif kind == "edm":
        skip, out = edm_output_scales(alpha, sigma, sigma_data)
        clean = skip * x + out * output
    else:
        raise ConfigError(f"unknown prediction '{kind}'; use one of {', '.join(KINDS)}.")
    return Prediction(clean, noise_of(x, clean, alpha, sigma))


def target(
    kind: Kind,
    clean: Float[Array, "batch *shape"],
    noise: Float[Array, "batch *shape"],
    alpha: Float[Array, "*levels"],
    sigma: Float[Array, "*levels"],
    sigma_data: float = 0.5,
) -> Float[Array, "batch *shape"]:
    """What a network of that kind should say at alpha clean + sigma noise."""
    alpha, sigma = (over(level, clean) for level in (alpha, sigma))
    if kind == "epsilon":
        return noise
    if kind == "sample":
        return clean
    if kind == "v":
        return alpha * noise - sigma * clean
    if kind == "score":
        return -noise / sigma
    if kind == "flow":
        return noise - clean
    if kind == "edm":
        skip, out = edm_output_scales(alpha, sigma, sigma_data)
        return (clean - skip * (alpha * clean + sigma * noise)) / out
    raise ConfigError(f"unknown prediction '{kind}'; use one of {', '.join(KINDS)}.")


def noise_of(
    x: Float[Array, "batch *shape"],
    clean: Float[Array, "batch *shape"],
    alpha: Float[Array, "*levels"],
    sigma: Float[Array, "*levels"],
) -> Float[Array, "batch *shape"]:
    """The noise in x if the clean sample is that one; 0 where x has none."""
    alpha, sigma = (over(level, x) for level in (alpha, sigma))
    return jnp.where(sigma > 0, (x - alpha * clean) / jnp.where(sigma > 0, sigma, 1), 0)


def clip(prediction: Prediction, limit: float | Float[Array, ""]) -> Prediction:
    """The clean sample clipped to [-limit, limit]; the noise stays what the network said."""
    return prediction._replace(clean=jnp.clip(prediction.clean, -limit, limit))


def threshold(prediction: Prediction, quantile: float = 0.995, limit: float = 1.0) -> Prediction:
    """Dynamic thresholding (Saharia et al., 2022, section 2.3): each clean sample clipped where the quantile of its absolute
    values lies, if that is over 1 and at most at `limit`, and divided by it."""
    clean = prediction.clean
    bound = jnp.quantile(jnp.abs(clean.reshape(len(clean), -1)), quantile, axis=1)
    bound = over(jnp.clip(bound, 1.0, limit), clean)
    return prediction._replace(clean=jnp.clip(clean, -bound, bound) / bound)


def edm_output_scales(alpha, sigma, sigma_data: float):
    """c_skip and c_out, for any alpha: those of x / alpha at the noise level sigma / alpha."""
    variance = (alpha * sigma_data) ** 2 + sigma**2
    return alpha * sigma_data**2 / variance, sigma * sigma_data / jnp.sqrt(variance)


def edm_input_scale(alpha, sigma, sigma_data: float = 0.5):
    """c_in, by which x comes to the network with variance 1."""
    return 1 / jnp.sqrt((alpha * sigma_data) ** 2 + sigma**2)


def over(level, x):
    """A level for each of the batch, in the form that goes over x; a number as it is."""
    level = jnp.asarray(level)
    return level.reshape(level.shape + (1,) * (x.ndim - level.ndim)) if level.ndim else level
