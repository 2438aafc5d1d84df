"""Images, with or without classes (`data.name = "images"`): from their places to the rows of a batch."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Int, UInt8

from genjax.config import structure
from genjax.data.augmentation import AugmentationConfig, augment
from genjax.data.dataset import Batches, Dataset, Datasets, Reading
from genjax.data.found import save_found
from genjax.data.hashing import digest
from genjax.data.image_arrays import content_hashes
from genjax.data.image_config import ImagesDataConfig
from genjax.data.image_places import LabelledImages, read_places
from genjax.errors import DataError

FORMAT = "1"  # of the rows: change it when the same config gives other batches than before


@dataclass(frozen=True)
class ImagesInfo:
    """A dataset of images in figures.

    Attributes:
        height, width: of every image, in pixels; 0 in a description that does not know them.
        classes: names, in the order of the labels; () where images have none.
        fit: how images came to that size.
        num_rows: of an epoch.
        remarks: sentences about images that were left out or much changed, the held-out ones with them.
    """

    batch_size: int
    height: int
    width: int
    channels: int
    classes: tuple[str, ...]
    fit: Literal["crop", "stretch"] = "crop"
    num_rows: int = 0
    remarks: tuple[str, ...] = ()

    @property
    def attributes(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """What an image is labelled with: names with their values."""
        return (("class", self.classes),) if self.classes else ()

    def save(self, run: Path) -> None:
        """Leaves in the run directory what its data said of itself."""
        save_found(run, {"classes": self.classes, "image_size": self.height})

    def __str__(self) -> str:
        size = f"{self.height}x{self.width} pixels and {self.channels} channels"
        figures = f"{self.num_rows:,} images of {size}, {len(self.classes) or 'no'} classes"
        return "; ".join([figures, *self.remarks])


def build_images(config: Mapping[str, Any], *, seed: int, cache_dir: Path | None) -> Datasets:
    """See `genjax.data.build`."""
    config = structure(ImagesDataConfig, config, "config.data")
    cache_dir = Path(config.cache_dir).expanduser() if config.cache_dir else cache_dir
    place, other = read_places(config, cache_dir)
    classes = config.classes or place.classes
    held_out = None if other else hold_out(content_hashes(place.images), config.evaluation_fraction)
    if other is not None and other.images.shape[1:] != place.images.shape[1:]:
        raise DataError(
            f"the images of {other.title} are {other.images.shape[1]}x{other.images.shape[2]} pixels and those of "
            f"{place.title} {place.images.shape[1]}x{place.images.shape[2]}; set data.image_size to bring them to one size."
        )
    remarks = place.remarks + (other.remarks if other else ())
    decides = (config.image_size, config.fit, config.channels, config.batch_size, config.shuffle, config.augmentation, seed)
    fingerprint = digest(FORMAT, place.fingerprint, repr((config.evaluation_fraction, classes)), repr(decides))

    def dataset(source: LabelledImages, index: np.ndarray, training: bool) -> Dataset:
        labels = source.labels_in(classes)
        rows = ImageRows(source.images, labels, index, config.augmentation if training else AugmentationConfig(), seed)
        _, height, width, channels = source.images.shape
        info = ImagesInfo(config.batch_size, height, width, channels, classes, config.fit, len(index), remarks)
        batches = Batches(rows, config.batch_size, seed if config.shuffle and training else None, endless=training)
        reading = Reading(config.num_threads, config.num_workers, config.prefetch)
        return Dataset(info, digest(fingerprint, source.fingerprint, str(training)), batches, reading)

    if other is not None:
        return Datasets(dataset(place, np.arange(len(place.images)), True), dataset(other, np.arange(len(other.images)), False))
    train = dataset(place, np.flatnonzero(~held_out), True)
    return Datasets(train, dataset(place, np.flatnonzero(held_out), False) if held_out.any() else None)


def describe_images(config: Mapping[str, Any], tokenizer: Any = None) -> ImagesInfo:
    """See `genjax.data.describe`."""
    c = structure(ImagesDataConfig, config, "config.data")
    return ImagesInfo(c.batch_size, c.image_size, c.image_size, c.channels, c.classes, c.fit)


def hold_out(keys: Sequence[str], fraction: float) -> Bool[np.ndarray, " rows"]:
    """True for about `fraction` (0 to 1) of the rows: those whose key hashes below it. Rows of one key stay together.

    Where there are several keys and the fraction is above 0, neither side is empty.
    """
    hashes = [int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "little") for key in keys]
    hashes = np.array(hashes, np.uint64)
    held_out = hashes.astype(np.float64) < fraction * 2.0**64
    if fraction > 0 and len(hashes):
        held_out[hashes == hashes.max()] = False
        held_out[hashes == hashes.min()] = hashes.min() < hashes.max()
    return held_out


@dataclass(frozen=True, eq=False)
class ImageRows:
    """One image a row: image (uint8), label, mask (1; the rows that fill a last batch have 0)."""

    images: UInt8[np.ndarray, "images height width channels"]
    labels: Int[np.ndarray, " images"]
    index: Int[np.ndarray, " rows"]
    augmentation: AugmentationConfig
    seed: int

    @property
    def num_rows(self) -> int:
        return len(self.index)

    @property
    def columns(self) -> Mapping[str, tuple[tuple[int, ...], np.dtype]]:
        number = ((), np.dtype(np.int32))
        return {"image": (self.images.shape[1:], np.dtype(np.uint8)), "label": number, "mask": number}

    def fetch(self, epochs: Int[np.ndarray, " rows"], rows: Int[np.ndarray, " rows"]) -> dict[str, np.ndarray]:
        chosen = self.index[rows]
        images = augment(np.asarray(self.images[chosen]), self.augmentation, self.seed, epochs, rows)
        return {"image": images, "label": self.labels[chosen], "mask": np.ones(len(rows), np.int32)}
