"""Latents of an autoencoder, computed once (`data.name = "latents"`): latents.npy and labels.npy in a folder, memory-mapped."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from genjax.config import structure
from genjax.data.checks import check_limits
from genjax.data.dataset import Batches, Dataset, Datasets, Reading
from genjax.data.found import save_found
from genjax.data.hashing import digest
from genjax.data.images import hold_out
from genjax.data.sources.files import find_files, hash_files
from genjax.errors import ConfigError, DataError

FORMAT = "1"  # of the rows: change it when the same config gives other batches than before
LATENTS, LABELS = "latents.npy", "labels.npy"


@dataclass(frozen=True)
class LatentsDataConfig:
    """The config section `data` of latents."""

    name: str = "latents"
    path: str = ""  # a folder with latents.npy [rows height width channels] and, for classes, labels.npy [rows]
    classes: tuple[str, ...] = ()  # names, in the order of the labels; () numbers them
    size: tuple[int, ...] = ()  # height, width, channels; () takes them as found
    scale: float = 1.0  # by which they are multiplied: 0.18215 for Stable Diffusion's first autoencoder
    evaluation_fraction: float = 0.01  # of the rows, by the hash of their number
    batch_size: int = 32  # of a global batch, over all processes
    shuffle: bool = True
    # How it is read. None of these changes a batch.
    num_threads: int = 2
    num_workers: int = 0
    prefetch: int = 8
    cache_dir: str = ""  # nothing is cached

    def __post_init__(self):
        check_limits(self)
        if self.size and (len(self.size) != 3 or min(self.size) < 1):
            raise ConfigError(f"data.size is {self.size}; it must be (height, width, channels), or () to take it as found.")
        if self.scale <= 0:
            raise ConfigError(f"data.scale is {self.scale}; it must be above 0.")


@dataclass(frozen=True)
class LatentsInfo:
    """A dataset of latents in figures.

    Attributes:
        size: height, width, channels; () in a description that does not know them.
        attributes: what a latent is labelled with: names with their values.
        num_rows: of an epoch.
    """

    batch_size: int
    size: tuple[int, ...]
    attributes: tuple[tuple[str, tuple[str, ...]], ...]
    num_rows: int = 0

    def save(self, run: Path) -> None:
        """Leaves in the run directory what its data said of itself."""
        save_found(run, {"size": self.size, "classes": [value for _, values in self.attributes for value in values]})

    def __str__(self) -> str:
        classes = len(self.attributes[0][1]) if self.attributes else "no"
        return f"{self.num_rows:,} latents of {'x'.join(map(str, self.size))}, {classes} classes"


@dataclass(frozen=True, eq=False)
class LatentRows:
    """A row a latent: latent (float32, scaled), label, mask (1; the rows that fill a last batch have 0)."""

    latents: Float[np.ndarray, "rows height width channels"]
    labels: Int[np.ndarray, " rows"] | None
    index: Int[np.ndarray, " chosen"]
    scale: float

    @property
    def num_rows(self) -> int:
        return len(self.index)

    @property
    def columns(self) -> Mapping[str, tuple[tuple[int, ...], np.dtype]]:
        number = ((), np.dtype(np.int32))
        labels = {"label": number} if self.labels is not None else {}
        return {"latent": (self.latents.shape[1:], np.dtype(np.float32)), "mask": number} | labels

    def fetch(self, epochs: Int[np.ndarray, " rows"], rows: Int[np.ndarray, " rows"]) -> dict[str, np.ndarray]:
        chosen = self.index[rows]
        latents = np.asarray(self.latents[chosen], np.float32) * np.float32(self.scale)
        batch = {"latent": latents, "mask": np.ones(len(rows), np.int32)}
        return batch if self.labels is None else batch | {"label": np.asarray(self.labels[chosen], np.int32)}


def build_latents(config: Mapping[str, Any], *, seed: int, cache_dir: Path | None) -> Datasets:
    """See `genjax.data.build`."""
    c = structure(LatentsDataConfig, config, "config.data")
    files = {file.name: file for file in find_files(c.path)}
    if LATENTS not in files:
        raise DataError(f"{c.path} has no {LATENTS}; data.path names a folder with one.")
    latents = _array(files[LATENTS])
    labels = _array(files[LABELS]) if LABELS in files else None
    if latents.ndim != 4 or not np.issubdtype(latents.dtype, np.floating) or (c.size and latents.shape[1:] != c.size):
        wanted = "x".join(map(str, c.size)) or "height x width x channels"
        raise DataError(f"{files[LATENTS]} holds {latents.dtype} {list(latents.shape)}, not numbers [rows, {wanted}].")
    if labels is not None and (labels.shape != latents.shape[:1] or not np.issubdtype(labels.dtype, np.integer)):
        raise DataError(f"{files[LABELS]} holds {labels.dtype} {list(labels.shape)}, not a whole number for each latent.")
    classes = _classes(c, labels)
    fingerprint = digest(FORMAT, hash_files(tuple(files[name] for name in (LATENTS, LABELS) if name in files)))
    fingerprint = digest(fingerprint, repr((c.scale, c.evaluation_fraction, c.batch_size, c.shuffle, classes, seed)))
    held_out = hold_out([str(number) for number in range(len(latents))], c.evaluation_fraction)

    def dataset(index: np.ndarray, training: bool) -> Dataset:
        rows = LatentRows(latents, labels if classes else None, index, c.scale)
        info = LatentsInfo(c.batch_size, latents.shape[1:], (("class", classes),) if classes else (), len(index))
        batches = Batches(rows, c.batch_size, seed if c.shuffle and training else None, endless=training)
        return Dataset(info, digest(fingerprint, str(training)), batches, Reading(c.num_threads, c.num_workers, c.prefetch))

    train = dataset(np.flatnonzero(~held_out), True)
    return Datasets(train, dataset(np.flatnonzero(held_out), False) if held_out.any() else None)


def describe_latents(config: Mapping[str, Any], tokenizer: Any = None) -> LatentsInfo:
    """See `genjax.data.describe`."""
    c = structure(LatentsDataConfig, config, "config.data")
    return LatentsInfo(c.batch_size, c.size, (("class", c.classes),) if c.classes else ())


def _array(file: Path) -> np.ndarray:
    try:
        return np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise DataError(f"{file} is no array of numbers as numpy saves it: {error}.") from error


def _classes(config: LatentsDataConfig, labels: np.ndarray | None) -> tuple[str, ...]:
    if labels is None:
        return ()
    count = int(labels.max(initial=0)) + 1
    if labels.min(initial=0) < 0 or (config.classes and count > len(config.classes)):
        raise DataError(f"{LABELS} has labels of {int(labels.min())} to {count - 1}; data.classes names {len(config.classes)}.")
    return config.classes or tuple(map(str, range(count)))
