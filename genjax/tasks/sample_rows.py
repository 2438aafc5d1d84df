"""Samples as rows of batches: each with a key of its own, whatever batch it comes to lie in."""

from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float, Int, Key


def row_keys(key: Key[Array, ""], rows: Int[Array, "batch"]) -> Key[Array, "batch"]:
    """A key for each sample by its number."""
    return jax.vmap(lambda row: jax.random.fold_in(key, row))(rows)


def drawn(key: Key[Array, ""], rows: Int[Array, "batch"], width: int) -> Float[Array, "batch width"]:
    """Numbers from a normal distribution for each sample."""
    return jax.vmap(lambda own: jax.random.normal(own, (width,)))(row_keys(key, rows))


def filled(values: Any, full: int, fill: float = 0) -> np.ndarray:
    """Values as an array of `full` rows."""
    array = np.asarray(values)
    return np.concatenate([array, np.full((full - len(array), *array.shape[1:]), fill, array.dtype)])
