"""Mean and covariance of features that arrive in pieces, in float64."""

import functools
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64

from genjax.errors import DataError


@dataclass(frozen=True, eq=False)
class Statistics:
    """Two sets' statistics make their union's, by `merged`.

    Attributes:
        count: of vectors.
        mean: of the vectors.
        scatter: the sum of (x - mean) (x - mean)ᵀ over the vectors.
    """

    count: int
    mean: Float64[np.ndarray, " features"]
    scatter: Float64[np.ndarray, "features features"]

    @property
    def covariance(self) -> Float64[np.ndarray, "features features"]:
        """The unbiased one, over count - 1.

        Raises:
            DataError: fewer than 2 vectors.
        """
        if self.count < 2:
            raise DataError(f"a covariance needs 2 images or more; there is {self.count}.")
        return self.scatter / (self.count - 1)


def statistics(features: Float[np.ndarray, "images features"]) -> Statistics:
    """Of one piece; the squares are summed after the mean is taken off."""
    features = np.asarray(features, np.float64)
    mean = features.mean(0)
    deviations = features - mean
    return Statistics(len(features), mean, deviations.T @ deviations)


def merged(pieces: Iterable[Statistics]) -> Statistics:
    """Of all pieces together (Chan, Golub and LeVeque, 1983)."""
    return functools.reduce(_pair, pieces)


def _pair(first: Statistics, second: Statistics) -> Statistics:
    count = first.count + second.count
    difference = second.mean - first.mean
    scatter = np.outer(difference, difference) * (first.count * second.count / count)
    scatter += first.scatter
    scatter += second.scatter
    return Statistics(count, first.mean + difference * (second.count / count), scatter)
