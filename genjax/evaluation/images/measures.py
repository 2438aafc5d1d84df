"""All measures of a set of generated images beside a set of real ones, by name."""

from dataclasses import dataclass

from genjax.errors import ConfigError, DataError
from genjax.evaluation.images.collection import Collection
from genjax.evaluation.images.frechet import frechet_distance, frechet_distance_at_infinity, too_few
from genjax.evaluation.images.inception_score import inception_score
from genjax.evaluation.images.kernel import kernel_distance
from genjax.evaluation.images.neighbours import density_coverage, precision_recall


@dataclass(frozen=True)
class MeasureConfig:
    """How images are measured; the defaults are the papers'.

    Attributes:
        kernel_subsets, kernel_subset_size: of the kernel distance.
        score_splits: of the Inception score.
        precision_k, density_k: which neighbour gives a ball its radius.
        at_infinity: whether the Fréchet distance at infinitely many images is measured too (15 distances: minutes on a CPU).
        seed: of subsets and splits.
    """

    kernel_subsets: int = 100
    kernel_subset_size: int = 1000
    score_splits: int = 10
    precision_k: int = 3
    density_k: int = 5
    at_infinity: bool = False
    seed: int = 0

    def __post_init__(self):
        least = {"kernel_subset_size": 2, "seed": 0}
        for name, value in vars(self).items():
            if name != "at_infinity" and value < least.get(name, 1):
                raise ConfigError(f"measures.{name} is {value}; it must be {least.get(name, 1)} or more.")

    @property
    def neighbours(self) -> tuple[int, ...]:
        """Those that give balls their radii; of each set there must be more images than the largest."""
        return self.precision_k, self.density_k


@dataclass(frozen=True)
class Measures:
    """What was found.

    Attributes:
        figures: NETWORK/NAME -> value, for example "inception-2015-12-05-6726825d/fid".
        notes: sentences without which the figures would be misread.
    """

    figures: dict[str, float]
    notes: tuple[str, ...]


def measure(generated: Collection, real: Collection, config: MeasureConfig | None = None) -> Measures:
    """Every measure that the network's outputs allow.

    `fid`, `kid` and `kid_deviation`, `precision`, `recall`, `density`, `coverage`; `sfid` of spatial features; `inception_score`
    and its `_deviation` of logits; `fid_at_infinity` if asked for.

    Raises:
        DataError: features of two networks, or too few images for a measure.
    """
    config = config or MeasureConfig()
    if generated.network != real.network:
        raise DataError(f"generated images were seen by {generated.network}, real ones by {real.network}; use one for both.")
    found = {"fid": frechet_distance(generated.pool, real.pool)}
    if generated.spatial is not None and real.spatial is not None:
        found["sfid"] = frechet_distance(generated.spatial, real.spatial)
    if config.at_infinity:
        found["fid_at_infinity"] = frechet_distance_at_infinity(generated.features, real.pool, seed=config.seed)
    found["kid"], found["kid_deviation"] = kernel_distance(
        generated.features,
        real.features,
        subsets=config.kernel_subsets,
        subset_size=config.kernel_subset_size,
        seed=config.seed,
    )
    if generated.logits is not None:
        score = inception_score(generated.logits, splits=config.score_splits, seed=config.seed)
        found["inception_score"], found["inception_score_deviation"] = score
    sets, radii = (generated.features, real.features), real.radii(config.neighbours)
    found["precision"], found["recall"] = precision_recall(*sets, config.precision_k, radii[config.precision_k])
    found["density"], found["coverage"] = density_coverage(*sets, config.density_k, radii[config.density_k])
    notes = remarks(generated.count, real, config, kept=len(generated.features))
    return Measures({f"{generated.network}/{name}": value for name, value in found.items()}, notes)


def remarks(count: int, real: Collection, config: MeasureConfig, kept: int | None = None) -> tuple[str, ...]:
    """Sentences without which figures of generated images beside these real ones would be misread.

    Args:
        count: how many are generated.
        kept: of how many of these the features are kept as they are; None: of all.
    """
    notes = [
        f"fid: of {name} images, {note}"
        for name, images in (("generated", count), ("real", real.count))
        if (note := too_few(images, real.pool.mean.size))
    ]
    if (smaller := min(count if kept is None else kept, len(real.features))) < config.kernel_subset_size:
        notes.append(f"kid: over subsets of all {smaller:,} images of the smaller set, not of {config.kernel_subset_size:,}.")
    return tuple(notes)
