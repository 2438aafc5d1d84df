"""Images cut into patches, and positions for grids of other sizes."""

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float

from genjax.errors import ConfigError
from genjax.layers.linear import Initializer, Projection
from genjax.parallel.rules import constrain


class PatchEmbedding(nn.Module):
    """Each patch as one vector, row by row: a convolution whose stride is its size (Dosovitskiy et al., 2021, equation 1).

    Attributes:
        patch_size: height and width of a patch, in pixels.
        features: width of the result.
        use_bias: whether a bias is added (ViT, SigLIP: yes; CLIP: no).
        kernel_init: initializer of the kernel [patch_size patch_size channels features].
        dtype: the computation's dtype; parameters are float32.
    """

    patch_size: int
    features: int
    use_bias: bool = True
    kernel_init: Initializer = nn.initializers.normal(0.02)
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, images: Float[Array, "batch height width channels"]) -> Float[Array, "batch patches features"]:
        """Height / patch_size * width / patch_size vectors; rows and columns of pixels that fill no patch are left out, as a
        convolution leaves them.

        Raises:
            ConfigError: an image that is smaller than a patch.
        """
        size, (batch, height, width, channels) = self.patch_size, images.shape
        rows, columns = height // size, width // size
        if not rows or not columns:
            raise ConfigError(f"an image of {height}x{width} pixels is smaller than one patch of {size}x{size}; enlarge it.")
        images = images[:, : rows * size, : columns * size].reshape(batch, rows, size, columns, size, channels)
        patches = images.transpose(0, 1, 3, 2, 4, 5).reshape(batch, rows * columns, size, size, channels)
        projection = Projection(
            (self.features,),
            (None, None, None, "embed"),
            input_axes=3,
            use_bias=self.use_bias,
            kernel_init=self.kernel_init,
            dtype=self.dtype,
            name="projection",
        )
        return constrain(projection(patches), "activation_batch", "activation_length", "activation_embed")


def resize_positions(
    table: Float[Array, "patches features"], grid: tuple[int, int], new_grid: tuple[int, int]
) -> Float[Array, "new_patches features"]:
    """Positions of a grid of patches at the points of another grid, row by row, in float32.

    Bicubic (Keys, 1981, a = -0.75), pixel centres aligned, borders repeated, no smoothing when it shrinks: what torch and so
    transformers compute. A class token's position is not part of the grid: leave it out.

    Args:
        table: rows * columns vectors.
        grid: (rows, columns) that the table is for.
        new_grid: (rows, columns) that are wanted.

    Raises:
        ConfigError: the table has not as many rows as the grid has points.
    """
    if table.shape[0] != grid[0] * grid[1]:
        raise ConfigError(f"{table.shape[0]} positions are not a grid of {grid[0]}x{grid[1]} patches.")
    if grid == new_grid:
        return table
    down, across = (jnp.asarray(_bicubic(old, new)) for old, new in zip(grid, new_grid, strict=True))
    square = table.astype(jnp.float32).reshape(*grid, -1)
    return jnp.einsum("yh,xw,hwd->yxd", down, across, square, precision="highest").reshape(-1, table.shape[1])


def _bicubic(old: int, new: int, a: float = -0.75) -> Float[np.ndarray, "new old"]:
    """The weights of `old` samples in each of `new`."""
    centres = (np.arange(new) + 0.5) * (old / new) - 0.5
    first = np.floor(centres).astype(int)
    weights = np.zeros((new, old))
    for tap in range(-1, 3):
        distance = np.abs(centres - (first + tap))
        near = (a + 2) * distance**3 - (a + 3) * distance**2 + 1
        far = a * (distance**3 - 5 * distance**2 + 8 * distance - 4)
        np.add.at(weights, (np.arange(new), np.clip(first + tap, 0, old - 1)), np.where(distance <= 1, near, far))
    return weights.astype(np.float32)
