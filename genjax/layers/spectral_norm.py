"""Kernels divided by their spectral norm (Miyato et al., 2018, "Spectral normalization for generative adversarial networks").

The layers here are Conv, Projection and Embedding with one argument more, `train`, and two vectors in the collection "spectral".
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Float, Int

from genjax.layers.conv import Conv
from genjax.layers.embedding import Embedding
from genjax.layers.linear import Projection

SPECTRAL = "spectral"
FIRST_ITERATIONS = 15  # when a kernel is new, as torch does


class SpectralNorm(nn.Module):
    """An estimate of a matrix's largest singular value: uᵀ W v, where u and v come from power iteration (algorithm 1).

    As torch.nn.utils.parametrizations.spectral_norm: u = W v, then v = Wᵀ u, each of length 1. No gradient flows through u and
    v. Where the caller does not make the collection "spectral" mutable, the steps of a training call are taken and not kept.

    Attributes:
        iterations: in each call while training; there are none otherwise.
        epsilon: the least length that u and v are divided by.
    """

    iterations: int = 1
    epsilon: float = 1e-12

    @nn.compact
    def __call__(self, matrix: Float[Array, "outputs inputs"], train: bool) -> Float[Array, ""]:
        fixed = lax.stop_gradient(matrix)
        first: tuple = (None, None)
        if not self.has_variable(SPECTRAL, "u"):
            v = self._unit(jax.random.normal(self.make_rng("params"), matrix.shape[1:]))
            first = self._iterate(fixed, v, FIRST_ITERATIONS)
        stored_u, stored_v = (
            self.variable(SPECTRAL, name, lambda value=value: value) for name, value in zip("uv", first, strict=True)
        )
        u, v = stored_u.value, stored_v.value
        if train and not self.is_initializing():
            u, v = self._iterate(fixed, v, self.iterations)
            if self.is_mutable_collection(SPECTRAL):
                stored_u.value, stored_v.value = u, v
        return _product(u, _product(matrix, v))

    def _iterate(self, matrix: Array, v: Array, times: int) -> tuple[Array, Array]:
        for _ in range(times):
            u = self._unit(_product(matrix, v))
            v = self._unit(_product(u, matrix))
        return u, v

    def _unit(self, x: Array) -> Array:
        return x / jnp.maximum(jnp.linalg.norm(x), self.epsilon)


# Not in TF32 or bfloat16 passes: the whole kernel is divided by what comes out.
_product = partial(jnp.matmul, precision=lax.Precision.HIGHEST)


class SpectralConv(Conv):
    """Conv by kernel / spectral norm; the norm is of the matrix [features, channels * places of the kernel]."""

    @nn.compact
    def __call__(self, x: Float[Array, "batch *places channels"], train: bool) -> Float[Array, "batch *new_places features"]:
        kernel = self.make_kernel(x)
        # torch's order of the inputs, so that v can go from one to the other: channels, then places.
        matrix = jnp.moveaxis(kernel, (-1, -2), (0, 1)).reshape(self.features, -1)
        return self.convolve(x, kernel / SpectralNorm(name="norm")(matrix, train))


class SpectralProjection(Projection):
    """Projection by kernel / spectral norm."""

    @nn.compact
    def __call__(self, x: Float[Array, "..."], train: bool) -> Float[Array, "..."]:
        kernel = self.make_kernel(x)
        matrix = kernel.reshape(-1, math.prod(self.features)).T
        return self.project(x, kernel / SpectralNorm(name="norm")(matrix, train))


class SpectralEmbedding(Embedding):
    """Rows of table / spectral norm (the class vectors of Miyato and Koyama, 2018, as torch's spectral_norm of an Embedding)."""

    def setup(self):
        super().setup()
        self.norm = SpectralNorm()

    def __call__(self, ids: Int[Array, "*lead"], train: bool) -> Float[Array, "*lead features"]:
        """Rows of the table. Ids outside [0, count) are clipped."""
        rows = super().__call__(ids)
        return rows / self.norm(self.embedding, train).astype(rows.dtype)
