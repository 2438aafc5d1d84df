"""Pictures of colored shapes (`data.name = "shapes"`), drawn when asked for: what is in them is known, and code can read it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Int

from genjax.config import structure
from genjax.data.checks import check_limits
from genjax.data.dataset import Batches, Dataset, Datasets, Reading
from genjax.data.draws import uniforms
from genjax.data.hashing import digest
from genjax.data.images import hold_out
from genjax.data.rows import Rows
from genjax.data.sources.shape_captions import DRAWS, caption
from genjax.data.sources.shape_pictures import SMALLEST_IMAGE, draw
from genjax.data.sources.shapes import Labels, attributes, combinations, names_of, scene_of
from genjax.errors import ConfigError

FORMAT = "1"  # of the rows: change it when the same config gives other batches than before
TRAINING_SEED, EVALUATION_SEED = 1, 2  # of the pictures: a run's seed decides their order alone
SCENE_STREAM, CAPTION_STREAM = 0x736365, 0x636170


@dataclass(frozen=True)
class ShapesDataConfig:
    """Scenes of shapes (`sources/shapes.py`), from their attributes to the rows of a batch."""

    name: str = "shapes"
    num_groups: Literal[1, 2] = 1  # of equal objects in a picture: one at a place, or two and how they lie to each other
    num_images: int = 50_000  # rows of an epoch, each of them one picture for good
    evaluation_images: int = 1_000
    held_out: float = 0.1  # of the combinations of attributes, chosen by hash: they are in no row of training
    evaluation: Literal["held_out", "seen"] = "held_out"  # what evaluation shows: these combinations, or others than these
    image_size: int = 32  # height and width in pixels
    batch_size: int = 32  # of a global batch, over all processes
    shuffle: bool = True  # rows in an order drawn from the seed, another one each epoch
    # How it is read. None of these changes a batch.
    num_threads: int = 2
    num_workers: int = 0
    prefetch: int = 8

    def __post_init__(self):
        check_limits(self, positive=("num_images",), optional=("evaluation_images",))
        if not 0 <= self.held_out < 1:
            raise ConfigError(f"data.held_out is {self.held_out}; it must be at least 0 and below 1.")
        if not self.held_out and self.evaluation == "held_out" and self.evaluation_images:
            raise ConfigError("data.held_out is 0, which leaves nothing to evaluate; raise it, or set data.evaluation='seen'.")
        if self.image_size < SMALLEST_IMAGE[self.num_groups]:
            raise ConfigError(
                f"data.image_size is {self.image_size}, too small to tell shapes apart where data.num_groups is "
                f"{self.num_groups}; use {SMALLEST_IMAGE[self.num_groups]} or more."
            )


@dataclass(frozen=True)
class ShapesInfo:
    """A dataset of shapes in figures.

    Attributes:
        attributes: the columns of `label`, each with the names of its values.
        num_rows: of an epoch.
        num_combinations: of the attributes' values, in these rows.
    """

    batch_size: int
    height: int
    width: int
    channels: int
    attributes: tuple[tuple[str, tuple[str, ...]], ...]
    num_rows: int = 0
    num_combinations: int = 0

    def save(self, run: Path) -> None:
        """Nothing to keep: the config says it all."""

    def __str__(self) -> str:
        what = f"{self.num_rows:,} pictures of shapes of {self.height}x{self.width} pixels"
        return f"{what}, {self.num_combinations:,} combinations of {', '.join(name for name, _ in self.attributes)}"


def build_shapes(config: Mapping[str, Any], *, seed: int, cache_dir: Path | None) -> Datasets:
    """See `genjax.data.build`. Nothing is cached."""
    c = structure(ShapesDataConfig, config, "config.data")

    def info_of(rows: ShapeRows) -> ShapesInfo:
        size, chosen = c.image_size, rows.combinations
        return ShapesInfo(c.batch_size, size, size, 3, attributes(c.num_groups), rows.num_rows, len(chosen))

    return build_rows(c, seed, lambda rows: (rows, info_of(rows)), FORMAT)


def build_rows(c: ShapesDataConfig, seed: int, make: Callable[["ShapeRows"], tuple[Rows, Any]], *decides: Any) -> Datasets:
    """Both datasets of a config.

    Args:
        make: from pictures to what a row has, and what the data knows of itself.
        decides: what else than the config's own fields decides what is in a row.
    """
    labels = combinations(c.num_groups)
    held_out = hold_out(names_of(labels), c.held_out)
    own = (c.num_groups, c.held_out, c.image_size, c.batch_size, c.shuffle, seed)

    def dataset(chosen: Labels, num_rows: int, training: bool) -> Dataset:
        rows, info = make(ShapeRows(chosen, c.image_size, num_rows, TRAINING_SEED if training else EVALUATION_SEED))
        batches = Batches(rows, c.batch_size, seed if c.shuffle and training else None, endless=training)
        fingerprint = digest(*decides, repr(own), repr((num_rows, training, c.evaluation)))
        return Dataset(info, fingerprint, batches, Reading(c.num_threads, c.num_workers, c.prefetch))

    evaluated = labels[held_out if c.evaluation == "held_out" else ~held_out]
    evaluation = dataset(evaluated, c.evaluation_images, False) if c.evaluation_images else None
    return Datasets(dataset(labels[~held_out], c.num_images, True), evaluation)


def describe_shapes(config: Mapping[str, Any], tokenizer: Any = None) -> ShapesInfo:
    """See `genjax.data.describe`."""
    c = structure(ShapesDataConfig, config, "config.data")
    return ShapesInfo(c.batch_size, c.image_size, c.image_size, 3, attributes(c.num_groups), c.num_images)


@dataclass(frozen=True, eq=False)
class ShapeRows:
    """One picture a row: image (uint8), label (a number for each attribute), mask (1; the rows that fill a last batch have 0).

    Attributes:
        combinations: the scenes that rows are of, every one as often.
        seed: of the pictures.
    """

    combinations: Labels
    image_size: int
    num_rows: int
    seed: int

    @property
    def columns(self) -> Mapping[str, tuple[tuple[int, ...], np.dtype]]:
        number = np.dtype(np.int32)
        return {
            "image": ((self.image_size, self.image_size, 3), np.dtype(np.uint8)),
            "label": ((self.combinations.shape[1],), number),
            "mask": ((), number),
        }

    def fetch(self, epochs: Int[np.ndarray, " rows"], rows: Int[np.ndarray, " rows"]) -> dict[str, np.ndarray]:
        labels = self.labels(rows)
        images = draw(labels, self.image_size, self.seed, rows)
        return {"image": images, "label": labels, "mask": np.ones(len(rows), np.int32)}

    def labels(self, rows: Int[np.ndarray, " rows"]) -> Int[np.ndarray, "rows attributes"]:
        """What is in the pictures."""
        drawn = uniforms(self.seed, SCENE_STREAM, np.zeros_like(rows), rows, 1)[:, 0]
        return self.combinations[(drawn * len(self.combinations)).astype(np.int64)]

    def captions(self, epochs: Int[np.ndarray, " rows"], rows: Int[np.ndarray, " rows"]) -> list[str]:
        """What is in the pictures, said in one of several ways, in each epoch another."""
        draws = uniforms(self.seed, CAPTION_STREAM, epochs, rows, DRAWS)
        scenes = (scene_of(label) for label in self.labels(rows).tolist())
        return [caption(scene, numbers) for scene, numbers in zip(scenes, draws.tolist(), strict=True)]
