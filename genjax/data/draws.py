"""Random numbers for rows: as many as wanted for each, a pure function of seed, epoch and row, all rows at once."""

import numpy as np
from jaxtyping import Float, Int

from genjax.data.order import GOLDEN, mix

WORD = 0xFFFFFFFFFFFFFFFF


def uniforms(
    seed: int, stream: int, epochs: Int[np.ndarray, " rows"], rows: Int[np.ndarray, " rows"], count: int
) -> Float[np.ndarray, "rows {count}"]:
    """Numbers in [0, 1), the same on every machine and in any batch.

    Args:
        seed: the run's.
        stream: sets these numbers apart from others that are drawn for the same rows.
        epochs, rows: whose numbers.
        count: numbers of a row.
    """
    key = mix(np.array([seed & WORD], np.uint64) + GOLDEN * np.array([stream], np.uint64))
    key = mix(mix(key + GOLDEN * epochs.astype(np.uint64)) + GOLDEN * rows.astype(np.uint64))
    bits = mix(key[:, None] + GOLDEN * np.arange(1, count + 1, dtype=np.uint64))
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53
