"""Fidelity and diversity apart from each other, by balls around images: to the k-th nearest of the same set, in feature space.

Distances are float64 and come in blocks of `BLOCK` by `BLOCK`: there are never more of them in memory, however many images.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float, Float64

from genjax.errors import DataError

BLOCK = 2048  # 34 MB of distances


def precision_recall(
    generated: Float[np.ndarray, "generated features"],
    real: Float[np.ndarray, "real features"],
    k: int = 3,
    radii: Float64[np.ndarray, " real"] | None = None,
) -> tuple[float, float]:
    """Kynkäänniemi et al., 2019, equations 1 and 2: the share of generated images within some real image's ball, and the share of
    real images within some generated image's ball. To compare, take the same numbers of images as in the paper (50,000 each).

    Args:
        radii: squared ones of the real images' balls, where they are known (`squared_radii`).

    Raises:
        DataError: no more than k images in a set, or features of different widths.
    """
    generated, real = _prepared(generated, real, k)
    own, others = _radii(generated, (k,))[k], _radii(real, (k,))[k] if radii is None else radii
    precise, recalled = np.zeros(len(generated), bool), np.zeros(len(real), bool)
    for rows, columns, distances in _blocks(generated, real):
        precise[rows] |= (distances <= others[columns]).any(1)
        recalled[columns] |= (distances <= own[rows, None]).any(0)
    return float(precise.mean()), float(recalled.mean())


def density_coverage(
    generated: Float[np.ndarray, "generated features"],
    real: Float[np.ndarray, "real features"],
    k: int = 5,
    radii: Float64[np.ndarray, " real"] | None = None,
) -> tuple[float, float]:
    """Naeem et al., 2020, section 3: in how many real images' balls a generated image lies on average, over k (about 1 where both
    sets are alike, more where generated images crowd), and the share of real images with a generated one in their ball.

    The balls are open, as in the authors' code.

    Args:
        radii: see `precision_recall`.

    Raises:
        DataError: no more than k images in a set, or features of different widths.
    """
    generated, real = _prepared(generated, real, k)
    radii = _radii(real, (k,))[k] if radii is None else radii
    inside, covered = 0, np.zeros(len(real), bool)
    for _, columns, distances in _blocks(generated, real):
        within = distances < radii[columns]
        inside += int(within.sum())
        covered[columns] |= within.any(0)
    return inside / (k * len(generated)), float(covered.mean())


def _prepared(generated: np.ndarray, real: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    if min(len(generated), len(real)) <= k or generated.shape[1] != real.shape[1]:
        raise DataError(
            f"features are {list(generated.shape)} and {list(real.shape)}; a neighbour number {k} needs more than {k} images of "
            "each set, and one network for both."
        )
    center = np.asarray(real, np.float64).mean(0)  # taken off, squares of distances lose fewer digits
    return tuple(np.asarray(features, np.float64) - center for features in (generated, real))


def squared_radii(features: Float[np.ndarray, "images features"], ks: Sequence[int]) -> dict[int, Float64[np.ndarray, " images"]]:
    """For each k, the squared distance from each image to its k-th nearest other one; of 50,000 images the work of minutes.

    Raises:
        DataError: no more images than the largest k.
    """
    return _radii(_prepared(features, features, max(ks))[1], ks)


def _radii(features: Float64[np.ndarray, "images features"], ks: Sequence[int]) -> dict[int, Float64[np.ndarray, " images"]]:
    most = max(ks)
    nearest = np.full((len(features), most), np.inf)
    for rows, columns, distances in _blocks(features, features):
        if rows == columns:
            np.fill_diagonal(distances, np.inf)  # not itself
        candidates = np.concatenate([nearest[rows], distances], axis=1)
        nearest[rows] = np.partition(candidates, most - 1, axis=1)[:, :most]
    nearest.sort(axis=1)
    return {k: nearest[:, k - 1] for k in ks}


def _blocks(a: np.ndarray, b: np.ndarray) -> Iterator[tuple[slice, slice, Float64[np.ndarray, "rows columns"]]]:
    """Squared distances between some rows of `a` and some of `b`, until there were all."""
    squares = [np.einsum("ND,ND->N", x, x) for x in (a, b)]
    for i in range(0, len(a), BLOCK):
        rows = slice(i, i + BLOCK)
        for j in range(0, len(b), BLOCK):
            columns = slice(j, j + BLOCK)
            distances = squares[0][rows, None] + squares[1][columns] - 2 * (a[rows] @ b[columns].T)
            yield rows, columns, np.maximum(distances, 0.0, out=distances)
