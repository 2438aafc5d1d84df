"""Where images with texts lie: files in folders, archives and shards, prepared TFDS datasets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from jaxtyping import UInt8

from genjax.data.hashing import digest
from genjax.data.image_arrays import decode_images
from genjax.data.image_files import is_image
from genjax.data.image_texts_config import ImageTextsDataConfig
from genjax.data.images import hold_out
from genjax.data.metadata import METADATA, Line, metadata_of, read_beside, read_metadata, texts_beside
from genjax.data.sources.tfds_images import TensorFlowImages
from genjax.data.sources.trees import Tree
from genjax.errors import DataError


@dataclass(frozen=True)
class Described:
    """A thing that texts describe.

    Attributes:
        name: of its files, in every view the same.
        images: the number of its image in each view, in the order of `views`.
        texts: at least one.
        words: beside the texts.
    """

    name: str
    images: tuple[int, ...]
    texts: tuple[str, ...]
    words: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class DescribedImages:
    """What one place holds.

    Attributes:
        things: whose `images` are numbers of these images.
        fingerprints: of images and texts.
    """

    images: UInt8[np.ndarray, "images height width channels"]
    things: tuple[Described, ...]
    fingerprints: tuple[str, ...]

    def chosen(self, held_out: Sequence[bool], wanted: bool) -> "DescribedImages":
        """The things that are held out, or those that are not."""
        things = (thing for thing, out in zip(self.things, held_out, strict=True) if out == wanted)
        return DescribedImages(self.images, tuple(things), self.fingerprints)


def read_text_places(config: ImageTextsDataConfig, cache_dir: Path | None) -> tuple[DescribedImages, DescribedImages | None]:
    """The images to train on, and those held out.

    Raises:
        DataError: images or texts that are missing, damaged or of another form.
    """
    if config.source == "tfds":
        found = _read_tfds(config, config.tfds_split, cache_dir)
        if config.evaluation_tfds_split:
            return found, _read_tfds(config, config.evaluation_tfds_split, cache_dir)
    else:
        found = _read_files(config, cache_dir)
    out = hold_out([PurePosixPath(thing.name).name for thing in found.things], config.evaluation_fraction)
    return found.chosen(out, False), found.chosen(out, True) if any(out) else None


def _read_files(config: ImageTextsDataConfig, cache_dir: Path | None) -> DescribedImages:
    tree = Tree(config.path, is_image)
    found = decode_images(tree, config.image_size, config.fit, config.channels, cache_dir)
    lines = metadata_of(config.path)
    told = list(read_metadata(lines, optional=True))
    if not told:
        lines = texts_beside(config.path)
        told = list(read_beside(lines, found.names, config.text_field))
    things = read_described(config, lines.title, told, found.names)
    return DescribedImages(found.images, tuple(things), (tree.fingerprint, lines.fingerprint))


def _read_tfds(config: ImageTextsDataConfig, split: str, cache_dir: Path | None) -> DescribedImages:
    prepared = TensorFlowImages(config.tfds_name, split, config.path, config.image_field, label_field="")
    found = decode_images(prepared, config.image_size, config.fit, config.channels, cache_dir)
    fields = {key: getattr(config, key) for key in ("text_field", "words_field") if getattr(config, key)}
    lines = [
        Line(f"{prepared.title}, example {name}", "", name, values) for name, values in zip(*prepared.values(fields), strict=True)
    ]
    things = read_described(config, prepared.title, lines, found.names)
    return DescribedImages(found.images, tuple(things), (prepared.fingerprint, digest(*fields.values())))


def read_described(config: ImageTextsDataConfig, title: str, lines: Sequence[Line], names: Sequence[str]) -> list[Described]:
    """What lines say of the images, in their order.

    With views, things that lack a picture in one of them are left out; the texts are those of the first view.

    Args:
        title: of their place, for messages.
        names: paths of the images within their place.

    Raises:
        DataError: an image that is named and that is not there, or nothing left.
    """
    numbers = {name: number for number, name in enumerate(names)}
    found: dict[str, dict[str, Described]] = {}  # by folder, by file name
    for line in lines:
        place = PurePosixPath(line.folder).name if config.views else line.folder
        thing = _described(config, line, numbers)
        found.setdefault(place, {})[thing.name] = thing
    if not config.views:
        return [thing for entries in found.values() for thing in entries.values()]
    if absent := [view for view in config.views if view not in found]:
        raise DataError(f"data.views names {absent[0]!r}, but {title} has {METADATA} in {', '.join(sorted(found))}.")
    views = [found[view] for view in config.views]
    whole = [name for name in views[0] if all(name in view for view in views)]
    if not whole:
        raise DataError(f"no file name of {title} is in all of {', '.join(config.views)}; check data.views.")
    together = {name: tuple(view[name].images[0] for view in views) for name in whole}
    return [Described(name, together[name], views[0][name].texts, views[0][name].words) for name in whole]


def _described(config: ImageTextsDataConfig, line: Line, numbers: Mapping[str, int]) -> Described:
    if line.path not in numbers:
        raise DataError(f"{line.where} names the image {line.path}, which is not there.")
    texts = _strings(line.values, config.text_field, line.where)
    if not texts:
        raise DataError(
            f"{line.where} has no text in {config.text_field!r}; it has {', '.join(line.values)}; set data.text_field."
        )
    words = _strings(line.values, config.words_field, line.where) if config.words_field else ()
    return Described(line.name if config.views else line.path, (numbers[line.path],), texts, words)


def _strings(values: Mapping[str, Any], key: str, where: str) -> tuple[str, ...]:
    """A text or a list of them, empty ones left out."""
    found = values.get(key, ())
    found = (found,) if isinstance(found, str) else found
    if not isinstance(found, list | tuple) or not all(isinstance(text, str) for text in found):
        raise DataError(f"{where}: {key!r} must be a text or a list of texts, but is {found!r}.")
    return tuple(text for text in found if text.strip())
