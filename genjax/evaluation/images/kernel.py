"""The kernel distance between features of two sets of images (KID): unbiased, so that few images do not make it larger."""

import numpy as np
from jaxtyping import Float, Float64

from genjax.errors import DataError


def kernel_distance(
    generated: Float[np.ndarray, "generated features"],
    real: Float[np.ndarray, "real features"],
    *,
    subsets: int = 100,
    subset_size: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """KID (Bińkowski et al., 2018, section 4): mean and standard deviation of MMD² with the kernel (x·y / d + 1)³ over subsets.

    Args:
        subsets: how many are drawn at random, each without replacement.
        subset_size: images of each set in a subset; the smaller set's number where that is less.

    Raises:
        DataError: fewer than 2 images in a set, or features of different widths.
    """
    size = min(subset_size, len(generated), len(real))
    if size < 2 or generated.shape[1] != real.shape[1]:
        raise DataError(
            f"features are {list(generated.shape)} and {list(real.shape)}; a kernel distance needs 2 images or more of each set, "
            "and one network for both."
        )
    generator = np.random.default_rng(seed)
    found = [
        squared_mmd(generated[generator.choice(len(generated), size, False)], real[generator.choice(len(real), size, False)])
        for _ in range(subsets)
    ]
    return float(np.mean(found)), float(np.std(found))


def squared_mmd(first: Float[np.ndarray, "images features"], second: Float[np.ndarray, "images features"]) -> float:
    """The unbiased estimate of MMD² (Gretton et al., 2012, lemma 6), which can be below 0."""
    x, y = np.asarray(first, np.float64), np.asarray(second, np.float64)
    within = sum((k.sum() - np.trace(k)) / (len(k) * (len(k) - 1)) for k in (_kernel(x, x), _kernel(y, y)))
    return float(within - 2 * _kernel(x, y).mean())


def _kernel(x: Float64[np.ndarray, "m d"], y: Float64[np.ndarray, "n d"]) -> Float64[np.ndarray, "m n"]:
    return (x @ y.T / x.shape[1] + 1) ** 3
