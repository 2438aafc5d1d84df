"""How uncertain a denoiser's loss is at each noise level, learned beside it."""

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float, Real

from genjax.layers.linear import Projection


class LogVariance(nn.Module):
    """u of a noise level: a loss is trained as loss / exp(u) + u (Karras et al., 2024), so that exp(u) becomes its
    expectation there and every level weighs the same. One layer on fixed random frequencies; at first u = 0.

    Attributes:
        frequencies: how many.
    """

    frequencies: int = 128

    @nn.compact
    def __call__(self, times: Real[Array, "batch"]) -> Float[Array, "batch"]:
        """u in float32.

        Args:
            times: of order 1, such as EDM's ln(sigma) / 4.
        """
        generator = np.random.default_rng(0)  # a constant of the module, as its phases: neither is trained or saved
        speeds = generator.standard_normal(self.frequencies)
        phases = generator.uniform(size=self.frequencies)
        angles = 2 * np.pi * (times.astype(jnp.float32)[:, None] * speeds.astype(np.float32) + phases.astype(np.float32))
        features = np.sqrt(2, dtype=np.float32) * jnp.cos(angles)
        return Projection((1,), (None, None), use_bias=False, kernel_init=nn.initializers.zeros, name="linear")(features)[:, 0]
