"""Images with classes (`data.name = "images"`): class folders, zip archives of them, or IDX files such as Fashion-MNIST's."""

import difflib
import hashlib
import os.path
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Int, UInt8

from genjax.config import structure
from genjax.data.augmentation import AugmentationConfig, augment
from genjax.data.dataset import Batches, Dataset, Datasets, Reading
from genjax.data.found import save_found
from genjax.data.hashing import digest
from genjax.data.image_arrays import content_hashes, decode_tree
from genjax.data.image_files import is_image
from genjax.data.sources.files import find_files, hash_files
from genjax.data.sources.idx import read_idx
from genjax.data.sources.trees import Tree
from genjax.errors import ConfigError, DataError

FORMAT = "1"  # of the rows: change it when the same config gives other batches than before
IMAGES_IN_NAME, LABELS_IN_NAME = "images-idx3", "labels-idx1"


@dataclass(frozen=True)
class ImagesDataConfig:
    """Images with classes, from their source to the rows of a batch."""

    name: str = "images"
    # folders: files whose folder names their class, below a folder or in a .zip or .tar archive; idx: a file ...images-idx3-...,
    # beside which the file ...labels-idx1-... lies.
    source: Literal["folders", "idx"] = "folders"
    path: str = ""  # $NAME and ~ are expanded
    evaluation_path: str = ""  # held-out images; takes the place of evaluation_fraction
    evaluation_fraction: float = 0.1  # of the images, chosen by their content: equal images stay together
    classes: tuple[str, ...] = ()  # names, in the order of the labels; folders: () takes them as found, sorted
    image_size: int = 0  # height and width in pixels; 0: as the images are
    fit: Literal["crop", "stretch"] = "crop"  # to that size: the middle of an image, or all of it
    channels: Literal[1, 3] = 3
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    batch_size: int = 32  # of a global batch, over all processes
    shuffle: bool = True  # rows in an order drawn from the seed, another one each epoch
    # How it is read. None of these changes a batch.
    num_threads: int = 2
    num_workers: int = 0
    prefetch: int = 8
    cache_dir: str = ""  # a folder for decoded images that runs share; "": the one that the run gives

    def __post_init__(self):
        if self.batch_size < 1:
            raise ConfigError(f"data.batch_size is {self.batch_size}; it must be at least 1.")
        for name in ("image_size", "num_threads", "num_workers", "prefetch"):
            if getattr(self, name) < 0:
                raise ConfigError(f"data.{name} is {getattr(self, name)}; it must be 0 or more.")
        if not 0 <= self.evaluation_fraction < 1:
            raise ConfigError(f"data.evaluation_fraction is {self.evaluation_fraction}; it must be at least 0 and below 1.")
        if self.source == "idx" and self.channels != 1:
            raise ConfigError(f"data.channels is {self.channels}, but the images of IDX files are grey; set it to 1.")


@dataclass(frozen=True)
class ImagesInfo:
    """A dataset of images in figures.

    Attributes:
        height, width: of every image, in pixels; 0 in a description that does not know them.
        classes: names, in the order of the labels.
        fit: how images came to that size.
        num_rows: of an epoch.
    """

    batch_size: int
    height: int
    width: int
    channels: int
    classes: tuple[str, ...]
    fit: Literal["crop", "stretch"] = "crop"
    num_rows: int = 0

    @property
    def attributes(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """What a label tells, with the names of its values; `label` has no axis for this one."""
        return (("class", self.classes),)

    def save(self, run: Path) -> None:
        """Leaves in the run directory what its data said of itself."""
        save_found(run, {"classes": self.classes, "image_size": self.height})

    def __str__(self) -> str:
        size = f"{self.height}x{self.width} pixels and {self.channels} channels"
        return f"{self.num_rows:,} images of {size}, {len(self.classes)} classes"


def build_images(config: Mapping[str, Any], *, seed: int, cache_dir: Path | None) -> Datasets:
    """See `genjax.data.build`."""
    config = structure(ImagesDataConfig, config, "config.data")
    cache_dir = Path(config.cache_dir).expanduser() if config.cache_dir else cache_dir
    place = _read(config, config.path, cache_dir)
    other = _read(config, config.evaluation_path, cache_dir) if config.evaluation_path else None
    classes = config.classes or place.classes
    held_out = None if other else hold_out(content_hashes(place.images), config.evaluation_fraction)
    if other is not None and other.images.shape[1:] != place.images.shape[1:]:
        raise DataError(
            f"the images of {config.evaluation_path} are {other.images.shape[1]}x{other.images.shape[2]} pixels and those of "
            f"{config.path} {place.images.shape[1]}x{place.images.shape[2]}; set data.image_size to bring them to one size."
        )
    decides = (config.image_size, config.fit, config.channels, config.batch_size, config.shuffle, config.augmentation, seed)
    fingerprint = digest(FORMAT, place.fingerprint, repr((config.evaluation_fraction, classes)), repr(decides))

    def dataset(source: "LabelledImages", index: np.ndarray, training: bool) -> Dataset:
        labels = source.labels_in(classes)
        rows = ImageRows(source.images, labels, index, config.augmentation if training else AugmentationConfig(), seed)
        _, height, width, channels = source.images.shape
        info = ImagesInfo(config.batch_size, height, width, channels, classes, config.fit, len(index))
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
class LabelledImages:
    """What lies in one place: images, the class of each by its number, the classes' names, a fingerprint of it all."""

    images: UInt8[np.ndarray, "images height width channels"]
    labels: Int[np.ndarray, " images"]
    classes: tuple[str, ...]
    fingerprint: str
    title: str

    def labels_in(self, classes: Sequence[str]) -> Int[np.ndarray, " images"]:
        """The labels as numbers of `classes`. Raises DataError: there are images of a class that is not among them."""
        unknown = sorted(set(self.classes) - set(classes))
        if unknown:
            near = difflib.get_close_matches(unknown[0], classes, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else "."
            raise DataError(f"{self.title} has images of the class {unknown[0]!r}, which is not one of the {len(classes)}{hint}")
        numbers = {name: number for number, name in enumerate(classes)}
        return np.array([numbers[name] for name in self.classes], np.int32)[self.labels]


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


def _read(config: ImagesDataConfig, path: str, cache_dir: Path | None) -> LabelledImages:
    return _read_idx(config, path) if config.source == "idx" else _read_folders(config, path, cache_dir)


def _read_folders(config: ImagesDataConfig, path: str, cache_dir: Path | None) -> LabelledImages:
    tree = Tree(path, is_image)
    found = decode_tree(tree, config.image_size, config.fit, config.channels, cache_dir)
    if found.images.shape[1] != found.images.shape[2]:
        raise DataError(f"the images of {path} are {found.images.shape[1]}x{found.images.shape[2]} pixels; set data.image_size.")
    parents = [str(PurePosixPath(name).parent) for name in found.names]
    if "." in parents:
        raise DataError(
            f"{path}: {found.names[parents.index('.')]} lies in no folder, which would name its class; move it into one."
        )
    # Folders that all images share name no class: archive/train/cat and archive/train/dog are cat and dog.
    shared = os.path.commonpath(sorted(set(parents))) if len(set(parents)) > 1 else str(PurePosixPath(parents[0]).parent)
    named = [os.path.relpath(parent, shared or ".") for parent in parents]
    if "." in named:
        raise DataError(f"{path}: there are images in {shared} and in folders below it; which of these are classes is not clear.")
    classes = tuple(sorted(set(named)))
    numbers = {name: number for number, name in enumerate(classes)}
    labels = np.array([numbers[name] for name in named], np.int32)
    return LabelledImages(found.images, labels, classes, tree.fingerprint, path)


def _read_idx(config: ImagesDataConfig, path: str) -> LabelledImages:
    files = find_files(path)
    name = files[0].name
    if len(files) != 1 or IMAGES_IN_NAME not in name:
        raise DataError(
            f"data.source='idx' takes one file ...{IMAGES_IN_NAME}..., but {path!r} names {len(files)}, such as {name}."
        )
    other = find_files(str(files[0].with_name(name.replace(IMAGES_IN_NAME, LABELS_IN_NAME))))[0]
    images, labels = read_idx(files[0]), read_idx(other)
    if images.ndim != 3 or images.dtype != np.uint8 or labels.shape != images.shape[:1]:
        raise DataError(f"{files[0]} and {other} do not hold as many grey images as labels: {images.shape}, {labels.shape}.")
    if images.shape[1] != images.shape[2] or config.image_size not in (0, images.shape[1]):
        raise DataError(
            f"the images of {files[0]} are {images.shape[1]}x{images.shape[2]} pixels, and stay so; square ones are read, with "
            "data.image_size=0."
        )
    count = max(int(labels.max(initial=0)) + 1, len(config.classes))
    if config.classes and count > len(config.classes):
        raise ConfigError(f"data.classes names {len(config.classes)} classes, but {other} has labels up to {count - 1}.")
    classes = config.classes or tuple(map(str, range(count)))
    return LabelledImages(images[..., None], labels.astype(np.int32), classes, hash_files((files[0], other)), path)
