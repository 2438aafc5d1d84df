"""Where images with classes lie: files in folders and archives, IDX files such as Fashion-MNIST's, prepared TFDS datasets."""

import difflib
import os.path
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import Int, UInt8
from PIL import Image

from genjax.data.hashing import digest
from genjax.data.image_arrays import ImageArrays, ImageFiles, decode_images
from genjax.data.image_config import ImagesDataConfig
from genjax.data.image_files import fit_image, is_image
from genjax.data.metadata import METADATA, metadata_of, read_metadata
from genjax.data.sources.files import find_files, hash_files
from genjax.data.sources.idx import read_idx
from genjax.data.sources.tfds_images import TensorFlowImages
from genjax.data.sources.trees import Tree
from genjax.errors import ConfigError, DataError
from genjax.interop.preprocessor import Preprocessor

IMAGES_IN_NAME, LABELS_IN_NAME = "images-idx3", "labels-idx1"
MOST_CLASSES = 1 << 20
LONGEST_RATIO = 1.5  # of an image's sides: a longer one loses more than a third of itself in a square crop
SHOWN = 3  # names in a remark


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """What lies in one place.

    Attributes:
        labels: the class of each by its number; zeros where there are no classes.
        classes: names by number.
        fingerprint: of all of it.
        remarks: sentences about images that were left out or much changed.
    """

    images: UInt8[np.ndarray, "images height width channels"]
    labels: Int[np.ndarray, " images"]
    classes: tuple[str, ...]
    fingerprint: str
    title: str
    remarks: tuple[str, ...] = ()

    def labels_in(self, classes: Sequence[str]) -> Int[np.ndarray, " images"]:
        """The labels as numbers of `classes`. Raises DataError: there are images of a class that is not among them."""
        unknown = sorted(set(self.classes) - set(classes))
        if unknown:
            near = difflib.get_close_matches(unknown[0], classes, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else "."
            raise DataError(f"{self.title} has images of the class {unknown[0]!r}, which is not one of the {len(classes)}{hint}")
        if not self.classes:
            return self.labels
        numbers = {name: number for number, name in enumerate(classes)}
        return np.array([numbers[name] for name in self.classes], np.int32)[self.labels]


def read_places(config: ImagesDataConfig, cache_dir: Path | None) -> tuple[LabelledImages, LabelledImages | None]:
    """The images to train on, and those held out where they have a place of their own.

    Raises:
        DataError: images or labels that are missing, damaged or of another form.
        ConfigError: more labels than `data.classes` has names.
    """
    if config.source == "tfds":
        place, other = config.tfds_split, config.evaluation_tfds_split
    else:
        place, other = config.path, config.evaluation_path
    read = {"folders": _read_files, "idx": _read_idx, "tfds": _read_tfds}[config.source]
    return read(config, place, cache_dir), read(config, other, cache_dir) if other else None


def _read_files(config: ImagesDataConfig, path: str, cache_dir: Path | None) -> LabelledImages:
    tree = Tree(path, is_image)
    found = _decoded(config, tree, cache_dir)
    fingerprint = tree.fingerprint
    if config.labels == "folders":
        labels, classes = _by_folder(path, found.names)
    elif config.labels == "metadata":
        lines = metadata_of(path)
        labels, classes = _numbered(_by_metadata(config, lines, found), config.classes, path)
        fingerprint = digest(fingerprint, lines.fingerprint, config.label_field)
    else:
        labels, classes = np.zeros(len(found.names), np.int32), ()
        fingerprint = digest(fingerprint, "no labels")
    return _labelled(config, found, labels, classes, fingerprint, path)


def _read_tfds(config: ImagesDataConfig, split: str, cache_dir: Path | None) -> LabelledImages:
    label_field = "" if config.labels == "none" else config.label_field
    prepared = TensorFlowImages(config.tfds_name, split, config.path, config.image_field, label_field)
    found = _decoded(config, prepared, cache_dir)
    if not label_field:
        labels, classes = np.zeros(len(found.names), np.int32), ()
    else:
        known = prepared.labels()
        labels, classes = _numbered([known[name] for name in found.names], prepared.classes or config.classes, prepared.title)
    return _labelled(config, found, labels, classes, digest(prepared.fingerprint, label_field), prepared.title)


def _read_idx(config: ImagesDataConfig, path: str, cache_dir: Path | None) -> LabelledImages:
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
    if not len(images):
        raise DataError(f"{files[0]} holds no images; check data.path.")
    if images.shape[1] != images.shape[2] and not config.image_size:
        raise DataError(f"the images of {files[0]} are {images.shape[1]}x{images.shape[2]} pixels; set data.image_size.")
    images = _fitted(images, config)
    fingerprint = hash_files((files[0], other))
    if config.labels == "none":
        return LabelledImages(images, np.zeros(len(images), np.int32), (), digest(fingerprint, "no labels"), path)
    labels, classes = _numbered([int(label) for label in labels], config.classes, str(other))
    return LabelledImages(images, labels, classes, fingerprint, path)


def _fitted(
    images: UInt8[np.ndarray, "images height width"], config: ImagesDataConfig
) -> UInt8[np.ndarray, "images size size 1"]:
    """Grey images, brought to the config's size."""
    size = config.image_size
    if size in (0, images.shape[1]) and images.shape[1] == images.shape[2]:
        return images[..., None]
    to_size = Preprocessor(size, size, config.fit)
    return np.stack([fit_image(Image.fromarray(image), to_size) for image in images])


def _decoded(config: ImagesDataConfig, files: ImageFiles, cache_dir: Path | None) -> ImageArrays:
    found = decode_images(files, config.image_size, config.fit, config.channels, cache_dir, config.on_corrupt)
    _, height, width, _ = found.images.shape
    if height != width:
        raise DataError(f"the images of {files.title} are {height}x{width} pixels; set data.image_size.")
    return found


def _labelled(
    config: ImagesDataConfig, found: ImageArrays, labels: np.ndarray, classes: tuple[str, ...], fingerprint: str, title: str
) -> LabelledImages:
    if found.left_out:  # other rows than of a place where all could be decoded
        fingerprint = digest(fingerprint, *found.left_out)
    return LabelledImages(found.images, labels, classes, fingerprint, title, _remarks(config, found, title))


def _by_folder(path: str, names: Sequence[str]) -> tuple[Int[np.ndarray, " images"], tuple[str, ...]]:
    parents = [str(PurePosixPath(name).parent) for name in names]
    if "." in parents:
        raise DataError(
            f"{path}: {names[parents.index('.')]} lies in no folder, which would name its class; move it into one, or set "
            "data.labels to 'metadata' or 'none'."
        )
    # Folders that all images share name no class: archive/train/cat and archive/train/dog are cat and dog.
    shared = os.path.commonpath(sorted(set(parents))) if len(set(parents)) > 1 else str(PurePosixPath(parents[0]).parent)
    named = [os.path.relpath(parent, shared or ".") for parent in parents]
    if "." in named:
        raise DataError(f"{path}: there are images in {shared} and in folders below it; which of these are classes is not clear.")
    return _numbered(named, (), path)


def _by_metadata(config: ImagesDataConfig, lines: Tree, found: ImageArrays) -> list[str | int]:
    """The label of each image. Raises DataError: one has none, or two, or a line is of no image."""
    present, left_out = set(found.names), set(found.left_out)
    labels: dict[str, str | int] = {}
    for line in read_metadata(lines):
        label = line.values.get(config.label_field)
        if line.path in left_out:
            continue
        if line.path not in present:
            raise DataError(f"{line.where} names the image {line.path}, which is not there.")
        if isinstance(label, bool) or not isinstance(label, str | int):
            raise DataError(
                f"{line.where} has no class in {config.label_field!r}, a text or a whole number; it has "
                f"{', '.join(line.values)}; set data.label_field."
            )
        if labels.setdefault(line.path, label) != label:
            raise DataError(f"{line.where} says that {line.path} is {label!r}, an earlier line that it is {labels[line.path]!r}.")
    if without := next((name for name in found.names if name not in labels), None):
        raise DataError(
            f"{lines.title}: {without} has no line in {METADATA} ({len(present) - len(labels):,} images have none); write what "
            "they are, or set data.labels to 'folders' or 'none'."
        )
    return [labels[name] for name in found.names]


def _numbered(
    labels: Sequence[str | int], names: Sequence[str], where: str
) -> tuple[Int[np.ndarray, " images"], tuple[str, ...]]:
    """Labels as numbers of classes, and the classes' names: those of texts, sorted; of numbers `names`, or else the numbers.

    Raises:
        DataError: texts and numbers, or numbers below 0 or too high for a class.
        ConfigError: a number that is beyond `names`.
    """
    if len({type(label) for label in labels}) > 1:
        raise DataError(
            f"{where} has texts and numbers for classes, such as {labels[0]!r}; give all as texts, or all as numbers."
        )
    if isinstance(labels[0], str):
        classes = tuple(sorted(set(labels)))
        numbers = {name: number for number, name in enumerate(classes)}
        return np.array([numbers[name] for name in labels], np.int32), classes
    lowest, highest = min(labels), max(labels)
    if lowest < 0 or highest >= MOST_CLASSES:
        wrong = lowest if lowest < 0 else highest
        raise DataError(f"{where} has the label {wrong}, which is no class's number; number them from 0, or name them.")
    if names and highest >= len(names):
        raise ConfigError(f"data.classes names {len(names)} classes, but {where} has labels up to {highest}.")
    return np.array(labels, np.int32), tuple(names) or tuple(map(str, range(highest + 1)))


def _remarks(config: ImagesDataConfig, found: ImageArrays, title: str) -> tuple[str, ...]:
    remarks = []
    if found.left_out:
        remarks.append(f"{len(found.left_out):,} of {title} left out that cannot be decoded ({_listed(found.left_out)})")
    if config.image_size:
        size, (heights, widths) = config.image_size, found.sizes.T
        small = np.flatnonzero(np.minimum(heights, widths) < size)
        if len(small):
            remarks.append(f"{len(small):,} of {title} smaller than {size}x{size} and enlarged ({_shown(found, small)})")
        long = np.flatnonzero(np.maximum(heights, widths) > LONGEST_RATIO * np.minimum(heights, widths))
        if len(long):
            what = "cropped to less than two thirds" if config.fit == "crop" else f"stretched by more than {LONGEST_RATIO}"
            remarks.append(f"{len(long):,} of {title} {what} ({_shown(found, long)})")
    return tuple(remarks)


def _shown(found: ImageArrays, chosen: Int[np.ndarray, " some"]) -> str:
    return _listed([f"{found.names[i]}, {found.sizes[i][0]}x{found.sizes[i][1]}" for i in chosen])


def _listed(names: Sequence[str]) -> str:
    return "; ".join([*names[:SHOWN], *(["..."] if len(names) > SHOWN else [])])
