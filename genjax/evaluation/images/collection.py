"""What is kept of the features of a set of images, however many there are: statistics of all, and some as they are."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Float64, UInt8

from genjax.errors import DataError
from genjax.evaluation.images.features import FeatureNetwork, Features
from genjax.evaluation.images.neighbours import squared_radii
from genjax.evaluation.images.statistics import Statistics, merged, statistics

KEEP = 50_000  # images: 400 MB of Inception's features
_CHUNK = 512  # images whose features are added up at once, whatever the batches: the same sums, in the same order


@dataclass(frozen=True, eq=False)
class Collection:
    """Features of a set of images.

    Attributes:
        network: the name of what made them.
        pool, spatial: statistics over all images; spatial ones where the network has them.
        features, logits: of `KEEP` images at most, drawn at random where there are more.
        known: what `radii` found so far.
    """

    network: str
    pool: Statistics
    spatial: Statistics | None
    features: Float[np.ndarray, "kept features"]
    logits: Float[np.ndarray, "kept classes"] | None
    known: dict[int, Float64[np.ndarray, " kept"]] = field(default_factory=dict, repr=False)

    def radii(self, ks: tuple[int, ...]) -> Mapping[int, Float64[np.ndarray, " kept"]]:
        """See `neighbours.squared_radii`; found once, as many sets are measured against the same real images."""
        if missing := set(ks) - set(self.known):
            self.known.update(squared_radii(self.features, sorted(missing)))
        return self.known

    @property
    def count(self) -> int:
        """How many images there were."""
        return self.pool.count


def collect(
    network: FeatureNetwork, images: Iterable[UInt8[np.ndarray, "batch height width channels"]], keep: int = KEEP, seed: int = 0
) -> Collection:
    """The features of images that come in batches of any length, all of one size.

    Args:
        keep: of how many images the features are kept as they are.
        seed: of the draw of these.

    Raises:
        DataError: no images, or images that `network.features` refuses.
    """
    pool: Statistics | None = None
    spatial: Statistics | None = None
    reservoir, seen = _Reservoir(keep, seed), 0
    for chunk in _chunks(images):
        found = network.features(chunk)
        pool = _added(pool, found.pool)
        spatial = None if found.spatial is None else _added(spatial, found.spatial)
        reservoir.add(found, seen)
        seen += len(chunk)
    if pool is None:
        raise DataError("there are no images to measure.")
    return Collection(network.name, pool, spatial, reservoir.features, reservoir.logits)


def _added(total: Statistics | None, features: Float[np.ndarray, "images features"]) -> Statistics:
    piece = statistics(features)
    return piece if total is None else merged([total, piece])


def _chunks(batches: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """The same images, `_CHUNK` at a time."""
    waiting: list[np.ndarray] = []
    for batch in batches:
        waiting.append(np.asarray(batch))
        while sum(map(len, waiting)) >= _CHUNK:
            together = _joined(waiting)
            yield together[:_CHUNK]
            waiting = [together[_CHUNK:]]
    if sum(map(len, waiting)):
        yield _joined(waiting)


def _joined(batches: list[np.ndarray]) -> np.ndarray:
    if len({batch.shape[1:] for batch in batches}) > 1:
        shapes = sorted({str(list(batch.shape[1:])) for batch in batches})
        raise DataError(f"the images are of several sizes: {', '.join(shapes)}; bring them to one before they are measured.")
    return np.concatenate(batches)


class _Reservoir:
    """A random subset of rows whose number is not known beforehand, each as likely as another (Vitter, 1985, algorithm R)."""

    def __init__(self, size: int, seed: int):
        self.size, self.generator = size, np.random.default_rng(seed)
        self.rows: list[list[np.ndarray]] = []

    def add(self, found: Features, seen: int) -> None:
        columns = [found.pool] + ([] if found.logits is None else [found.logits])
        for i, row in enumerate(zip(*columns, strict=True), start=seen):
            if i < self.size:
                self.rows.append([value.copy() for value in row])
            elif (place := int(self.generator.integers(i + 1))) < self.size:
                self.rows[place] = [value.copy() for value in row]

    @property
    def features(self) -> Float[np.ndarray, "kept features"]:
        return np.stack([row[0] for row in self.rows])

    @property
    def logits(self) -> Float[np.ndarray, "kept classes"] | None:
        return np.stack([row[1] for row in self.rows]) if len(self.rows[0]) > 1 else None
