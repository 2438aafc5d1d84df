"""The Fréchet distance between features of two sets of images: FID on pooled features, sFID on spatial ones."""

import numpy as np
from jaxtyping import Float, Float64

from genjax.errors import DataError
from genjax.evaluation.images.statistics import Statistics, statistics


def frechet_distance(first: Statistics, second: Statistics) -> float:
    """|m1 - m2|² + Tr C1 + Tr C2 - 2 Tr (C1 C2)^(1/2) (Heusel et al., 2017, equation 6), in float64.

    With factors C1 = A Aᵀ and C2 = B Bᵀ the eigenvalues of C1 C2 are the squares of the singular values of Aᵀ B, so that the last
    trace is the sum of these. Nothing is added to a diagonal, and no root is taken of a number that is only rounding, as a root
    of the matrix C1 C2 would have it where there are fewer images than features.

    Raises:
        DataError: the features are of different widths, or a set has fewer than 2 images.
    """
    if first.mean.shape != second.mean.shape:
        raise DataError(f"features are {first.mean.size:,} and {second.mean.size:,} wide; measure both sets with one network.")
    return _distance(first, _factor(first.covariance), second, _factor(second.covariance))


def too_few(count: int, features: int) -> str:
    """What to say beside a Fréchet distance of fewer images than features; empty where there are more."""
    if count > features:
        return ""
    return (
        f"{count:,} images for {features:,} features: their covariance has at most rank {max(count - 1, 0):,}, the distance is "
        f"far too large; take more than {features:,} images (papers take 50,000), or read the kernel distance, which has no bias."
    )


def frechet_distance_at_infinity(
    features: Float[np.ndarray, "images features"],
    reference: Statistics,
    *,
    smallest: int = 5000,
    points: int = 15,
    seed: int = 0,
) -> float:
    """What the distance would be with infinitely many images (Chong and Forsyth, 2020): over 1 / size, distances of subsets of
    `points` sizes lie about on a line, whose intercept this is.

    Args:
        features: of generated images; the subsets are drawn from them.
        reference: of the real images, taken as it is.
        smallest: the smallest subset; half of all images where that is less.
        points: sizes, evenly spaced up to all images.

    Raises:
        DataError: fewer than 4 images.
    """
    if len(features) < 4:
        raise DataError(f"a line through distances needs 4 images or more; there are {len(features)}.")
    generator, target = np.random.default_rng(seed), _factor(reference.covariance)
    sizes = np.linspace(min(smallest, len(features) // 2), len(features), points).astype(int)
    distances = []
    for size in sizes:
        subset = statistics(features[generator.permutation(len(features))[:size]])
        distances.append(_distance(subset, _factor(subset.covariance), reference, target))
    return float(np.polyfit(1 / sizes, distances, 1)[1])


def _distance(first: Statistics, a: np.ndarray, second: Statistics, b: np.ndarray) -> float:
    difference = first.mean - second.mean
    roots = np.linalg.svd(a.T @ b, compute_uv=False)
    traces = np.trace(first.covariance) + np.trace(second.covariance)
    return float(difference @ difference + traces - 2 * roots.sum())


def _factor(covariance: Float64[np.ndarray, "features features"]) -> Float64[np.ndarray, "features rank"]:
    """A of C = A Aᵀ, with a column for each eigenvalue that is more than rounding."""
    values, vectors = np.linalg.eigh(covariance)
    kept = values > max(values[-1], 0.0) * len(values) * np.finfo(np.float64).eps
    return vectors[:, kept] * np.sqrt(values[kept])
