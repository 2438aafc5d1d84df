"""A mixture of Gaussians, each coordinate by itself: its score, and so the best denoiser, are known."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from genjax.diffusion.predictions import Prediction, noise_of


@dataclass(frozen=True)
class Mixture:
    weights: tuple[float, ...] = (0.3, 0.7)
    means: tuple[float, ...] = (-1.0, 0.6)
    std: float = 0.25

    def draw(self, generator, shape):
        which = generator.choice(len(self.means), shape, p=self.weights)
        return np.asarray(self.means)[which] + self.std * generator.standard_normal(shape)

    def log_density(self, x, alpha=1.0, sigma=0.0):
        """Of each coordinate of alpha clean + sigma noise."""
        variance = (alpha * self.std) ** 2 + sigma**2
        means = alpha * jnp.asarray(self.means)
        terms = jnp.log(jnp.asarray(self.weights)) - (x[..., None] - means) ** 2 / (2 * variance)
        return jax.nn.logsumexp(terms, axis=-1) - 0.5 * jnp.log(2 * jnp.pi * variance)

    def clean(self, x, alpha, sigma):
        """E[clean | x]."""
        return self.moments(x, alpha, sigma)[0]

    def moments(self, x, alpha, sigma):
        """Mean and variance of the clean sample, given x."""
        variance = (alpha * self.std) ** 2 + sigma**2
        means = jnp.asarray(self.means)
        share = jax.nn.softmax(jnp.log(jnp.asarray(self.weights)) - (x[..., None] - alpha * means) ** 2 / (2 * variance), axis=-1)
        each = means + alpha * self.std**2 / variance * (x[..., None] - alpha * means)
        mean = (share * each).sum(-1)
        return mean, (self.std * sigma) ** 2 / variance + (share * (each - mean[..., None]) ** 2).sum(-1)

    def denoise(self, x, time, alpha, sigma):
        clean = self.clean(x, alpha, sigma)
        return Prediction(clean, noise_of(x, clean, alpha, sigma))
