"""Points in the plane, drawn from Gaussians in a ring or a grid (`data.name = "mixture"`): what a generative model covers and
what it forgets can be counted."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int

from genjax.config import structure
from genjax.data.checks import check_limits
from genjax.data.dataset import Batches, Dataset, Datasets, Reading
from genjax.data.draws import uniforms
from genjax.data.hashing import digest
from genjax.errors import ConfigError

FORMAT = "1"  # of the rows: change it when the same config gives other batches than before
TRAINING_SEED, EVALUATION_SEED = 1, 2  # of the points: a run's seed decides their order alone
STREAM = 0x6D6978


@dataclass(frozen=True)
class MixtureDataConfig:
    """Gaussians of one deviation and one weight, and the rows that are drawn from them."""

    name: str = "mixture"
    arrangement: Literal["ring", "grid"] = "ring"
    modes: int = 8  # Gaussians; of a grid, a square number
    radius: float = 2.0  # from the middle to each of a ring, and to the sides of a grid
    deviation: float = 0.02  # of each Gaussian along both axes
    num_points: int = 50_000  # rows of an epoch, each of them one point for good
    evaluation_points: int = 2_000
    batch_size: int = 256  # of a global batch, over all processes
    shuffle: bool = True  # rows in an order drawn from the seed, another one each epoch
    # How it is read. None of these changes a batch.
    num_threads: int = 2
    num_workers: int = 0
    prefetch: int = 8

    def __post_init__(self):
        check_limits(self, positive=("modes", "num_points"), optional=("evaluation_points",))
        if self.radius <= 0 or self.deviation <= 0:
            raise ConfigError(f"data.radius and data.deviation must be positive, but are {self.radius} and {self.deviation}.")
        if self.arrangement == "grid" and math.isqrt(self.modes) ** 2 != self.modes:
            side = math.isqrt(self.modes)
            raise ConfigError(f"data.modes is {self.modes}, which makes no square grid; use {side**2} or {(side + 1) ** 2}.")


@dataclass(frozen=True)
class MixtureInfo:
    """A mixture in figures.

    Attributes:
        centers: (x, y) of each Gaussian.
        deviation: of each along both axes.
        num_rows: of an epoch.
    """

    batch_size: int
    centers: tuple[tuple[float, float], ...]
    deviation: float
    num_rows: int = 0

    @property
    def attributes(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """What a point is labelled with: the number of its Gaussian."""
        return (("mode", tuple(map(str, range(len(self.centers))))),)

    def save(self, run: Path) -> None:
        """Nothing to keep: the config says it all."""

    def __str__(self) -> str:
        return f"{self.num_rows:,} points of {len(self.centers)} Gaussians of deviation {self.deviation:g}"


def build_mixture(config: Mapping[str, Any], *, seed: int, cache_dir: Path | None) -> Datasets:
    """See `genjax.data.build`. Nothing is cached."""
    c = structure(MixtureDataConfig, config, "config.data")
    decides = (c.arrangement, c.modes, c.radius, c.deviation, c.batch_size, c.shuffle, seed)

    def dataset(num_rows: int, training: bool) -> Dataset:
        rows = MixtureRows(centers(c), c.deviation, num_rows, TRAINING_SEED if training else EVALUATION_SEED)
        batches = Batches(rows, c.batch_size, seed if c.shuffle and training else None, endless=training)
        fingerprint = digest(FORMAT, repr(decides), repr((num_rows, training)))
        return Dataset(_info(c, num_rows), fingerprint, batches, Reading(c.num_threads, c.num_workers, c.prefetch))

    return Datasets(dataset(c.num_points, True), dataset(c.evaluation_points, False) if c.evaluation_points else None)


def describe_mixture(config: Mapping[str, Any], tokenizer: Any = None) -> MixtureInfo:
    """See `genjax.data.describe`."""
    c = structure(MixtureDataConfig, config, "config.data")
    return _info(c, c.num_points)


def centers(config: MixtureDataConfig) -> Float[np.ndarray, "modes 2"]:
    """Of the Gaussians: around the ring from the right, or row by row from the lower left."""
    if config.arrangement == "ring":
        turns = 2 * np.pi * np.arange(config.modes) / config.modes
        return config.radius * np.stack([np.cos(turns), np.sin(turns)], axis=1)
    side = np.linspace(-config.radius, config.radius, math.isqrt(config.modes)) if config.modes > 1 else np.zeros(1)
    return np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)


def _info(config: MixtureDataConfig, num_rows: int) -> MixtureInfo:
    places = tuple(tuple(pair) for pair in centers(config).tolist())
    return MixtureInfo(config.batch_size, places, config.deviation, num_rows)


@dataclass(frozen=True, eq=False)
class MixtureRows:
    """One point a row: point (float32), label (its Gaussian), mask (1; the rows that fill a last batch have 0)."""

    centers: Float[np.ndarray, "modes 2"]
    deviation: float
    num_rows: int
    seed: int

    @property
    def columns(self) -> Mapping[str, tuple[tuple[int, ...], np.dtype]]:
        number = ((), np.dtype(np.int32))
        return {"point": ((2,), np.dtype(np.float32)), "label": number, "mask": number}

    def fetch(self, epochs: Int[np.ndarray, " rows"], rows: Int[np.ndarray, " rows"]) -> dict[str, np.ndarray]:
        drawn = uniforms(self.seed, STREAM, np.zeros_like(rows), rows, 3)
        labels = (drawn[:, 0] * len(self.centers)).astype(np.int32)
        # Box and Muller, 1958; 1 - u is never 0.
        length, turn = np.sqrt(-2 * np.log1p(-drawn[:, 1])), 2 * np.pi * drawn[:, 2]
        normal = length[:, None] * np.stack([np.cos(turn), np.sin(turn)], axis=1)
        points = (self.centers[labels] + self.deviation * normal).astype(np.float32)
        return {"point": points, "label": labels, "mask": np.ones(len(rows), np.int32)}
