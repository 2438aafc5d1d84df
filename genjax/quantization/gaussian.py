"""Gaussian latents without codes, held near a standard normal distribution (Kingma and Welling, 2014)."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from genjax.config import check_least
from genjax.errors import ConfigError
from genjax.quantization.quantized import RANDOM, Quantized

_LOG_VARIANCES = (-30.0, 20.0)  # as latent diffusion clips them


@dataclass(frozen=True)
class GaussianConfig:
    """Latents of so many features, for each of which a mean and a log-variance are read."""

    width: int = 4

    codes = depth = 0  # there are none

    def __post_init__(self):
        check_least(self, "bottleneck", ("width",))

    @property
    def inputs(self) -> int:
        return 2 * self.width

    @property
    def outputs(self) -> int:
        return self.width


class GaussianBottleneck(nn.Module):
    """Means and log-variances to latents. Losses: "kl" in nats of an example, summed over its places and features."""

    config: GaussianConfig

    def __call__(self, x: Float[Array, "batch *places moments"], train: bool = False) -> Quantized:
        """While training a draw (needs a key "bottleneck"), else the mean."""
        mean, log_variance = jnp.split(x.astype(jnp.float32), 2, axis=-1)
        log_variance = jnp.clip(log_variance, *_LOG_VARIANCES)
        values = mean
        if train:
            values = mean + jnp.exp(log_variance / 2) * jax.random.normal(self.make_rng(RANDOM), mean.shape)
        divergence = 0.5 * (jnp.square(mean) + jnp.exp(log_variance) - 1 - log_variance).sum() / len(x)
        return Quantized(values, None, {"kl": divergence})

    def lookup(self, codes: object) -> None:
        raise ConfigError("bottleneck 'gaussian' has no codes to look up; decode its latents.")
