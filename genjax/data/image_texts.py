"""Images with texts (`data.name = "image_texts"`): a folder, an archive or shards of several, one text drawn for each row.

A metadata.jsonl has the texts of the images, or files beside them do, as in WebDataset: see `genjax.data.metadata`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int, UInt8

from genjax.config import structure
from genjax.data.augmentation import STREAM, AugmentationConfig, augment
from genjax.data.dataset import Batches, Dataset, Datasets, Reading
from genjax.data.draws import uniforms
from genjax.data.found import save_found
from genjax.data.hashing import digest
from genjax.data.image_arrays import decode_images
from genjax.data.image_codes import CodesInfo
from genjax.data.image_files import is_image
from genjax.data.images import hold_out
from genjax.data.metadata import METADATA, Line, metadata_of, read_beside, read_metadata, texts_beside
from genjax.data.sources.trees import Tree
from genjax.data.text_config import TokenizerConfig
from genjax.data.text_rows import text_rows
from genjax.data.tokenizers.base import Tokenizer
from genjax.data.tokenizers.build import given_tokenizer, train_tokenizer
from genjax.errors import ConfigError, DataError

FORMAT = "1"  # of the rows: change it when the same config gives other batches than before
TEXT_STREAM, SECOND_STREAM = 0x747874, STREAM + 1
MOST_WORDS = 32  # of an image that a row's text is drawn from


@dataclass(frozen=True)
class ImageTextsDataConfig:
    """Images with texts, from their source to the rows of a batch."""

    name: str = "image_texts"
    # A folder, or .zip or .tar archives (a glob names several), with metadata.jsonl or a .txt or .json beside each image; $NAME
    # and ~ are expanded.
    path: str = ""
    evaluation_fraction: float = 0.1  # of the file names, chosen by hash: a picture of the same name is held out in every view
    # Folders that hold pictures of the same things under the same file names: a row then has two pictures, of two views drawn
    # in training (`image` and `second_image`), or of the first and the second one.
    views: tuple[str, ...] = ()
    text_field: str = "text"  # a text, or a list of them, of which each row has one; held-out rows have the first
    # A list of words beside the texts. Each row then has, in equal shares, the text, the text and some of the words, or only some
    # of the words, in an order drawn. Held-out rows have the text.
    words_field: str = ""
    tokenizer: TokenizerConfig = field(default_factory=lambda: TokenizerConfig(name="wordpiece"))
    context_length: int = 77  # tokens of a row, the special ones with them
    image_size: int = 0  # height and width in pixels; 0: as the images are
    fit: Literal["crop", "stretch"] = "crop"
    channels: Literal[1, 3] = 3
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    batch_size: int = 32  # rows of a global batch, over all processes
    shuffle: bool = True
    # How it is read. None of these changes a batch.
    num_threads: int = 2
    num_workers: int = 0
    prefetch: int = 8
    cache_dir: str = ""

    def __post_init__(self):
        for name in ("batch_size", "context_length"):
            if getattr(self, name) < 1:
                raise ConfigError(f"data.{name} is {getattr(self, name)}; it must be at least 1.")
        for name in ("image_size", "num_threads", "num_workers", "prefetch"):
            if getattr(self, name) < 0:
                raise ConfigError(f"data.{name} is {getattr(self, name)}; it must be 0 or more.")
        if not 0 <= self.evaluation_fraction < 1:
            raise ConfigError(f"data.evaluation_fraction is {self.evaluation_fraction}; it must be at least 0 and below 1.")
        if len(self.views) == 1 or len(set(self.views)) < len(self.views):
            raise ConfigError(f"data.views is {self.views}; it must name two folders or more, or none.")


@dataclass(frozen=True)
class ImageTextsInfo:
    """A dataset of images with texts in figures.

    Attributes:
        tokenizer: of the texts; None in a description without data.
        height, width: of every image, in pixels; 0 in a description that does not know them.
        pairs: whether a row has two images.
        canonical: whether texts are prepared as for SigLIP, see `text_rows`.
        num_rows: of an epoch; num_texts that they are drawn from, words not counted.
        codes: what stands in the place of images, or None.
    """

    tokenizer: Tokenizer | None
    vocab_size: int
    context_length: int
    batch_size: int
    height: int
    width: int
    channels: int
    fit: Literal["crop", "stretch"] = "crop"
    pairs: bool = False
    canonical: bool = False
    num_rows: int = 0
    num_texts: int = 0
    codes: CodesInfo | None = None

    @property
    def attributes(self) -> tuple[()]:
        """What an image is labelled with: nothing."""
        return ()

    def save(self, run: Path) -> None:
        """Leaves in the run directory what sampling needs beside the weights: RUN/tokenizer, and the images' size."""
        if self.tokenizer is not None and not (run / "tokenizer").is_dir():
            self.tokenizer.save(run / "tokenizer")
        save_found(run, {"image_size": self.height})

    def __str__(self) -> str:
        what = f"{'pairs of ' if self.pairs else ''}images of {self.height}x{self.width} pixels"
        return (
            f"{self.num_rows:,} {what} with {self.num_texts:,} texts, rows of {self.context_length} tokens (vocabulary "
            f"{self.vocab_size:,})"
        )


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


def build_image_texts(config: Mapping[str, Any], *, seed: int, cache_dir: Path | None) -> Datasets:
    """See `genjax.data.build`."""
    config = structure(ImageTextsDataConfig, config, "config.data")
    cache_dir = Path(config.cache_dir).expanduser() if config.cache_dir else cache_dir
    tree = Tree(config.path, is_image)
    found = decode_images(tree, config.image_size, config.fit, config.channels, cache_dir)
    lines = metadata_of(config.path)
    told = list(read_metadata(lines, optional=True))
    if not told:
        lines = texts_beside(config.path)
        told = list(read_beside(lines, found.names, config.text_field))
    things = read_described(config, lines.title, told, found.names)
    held_out = hold_out([PurePosixPath(thing.name).name for thing in things], config.evaluation_fraction)
    train = [thing for thing, out in zip(things, held_out, strict=True) if not out]
    evaluation = [thing for thing, out in zip(things, held_out, strict=True) if out]
    tokenizer = given_tokenizer(config.tokenizer) or train_tokenizer(
        config.tokenizer, partial(_texts, things), lambda limit: _texts(train)
    )
    _, height, width, channels = found.images.shape
    decides = (
        *(config.views, config.text_field, config.words_field, config.context_length, config.evaluation_fraction),
        *(config.image_size, config.fit, config.channels, config.batch_size, config.shuffle, config.augmentation, seed),
    )
    fingerprint = digest(FORMAT, tree.fingerprint, lines.fingerprint, tokenizer.fingerprint, repr(decides))

    def dataset(chosen: Sequence[Described], training: bool) -> Dataset:
        rows = ImageTextRows(found.images, tuple(chosen), tokenizer, config.context_length, config.augmentation, seed, training)
        info = ImageTextsInfo(
            *(tokenizer, tokenizer.vocab_size, config.context_length, config.batch_size, height, width, channels, config.fit),
            pairs=bool(config.views),
            num_rows=len(chosen),
            num_texts=sum(len(thing.texts) for thing in chosen),
        )
        batches = Batches(rows, config.batch_size, seed if config.shuffle and training else None, endless=training)
        reading = Reading(config.num_threads, config.num_workers, config.prefetch)
        return Dataset(info, digest(fingerprint, str(training)), batches, reading)

    return Datasets(dataset(train, True), dataset(evaluation, False) if evaluation else None)


def describe_image_texts(config: Mapping[str, Any], tokenizer: Tokenizer | None = None) -> ImageTextsInfo:
    """See `genjax.data.describe`."""
    c = structure(ImageTextsDataConfig, config, "config.data")
    vocab_size = tokenizer.vocab_size if tokenizer else c.tokenizer.vocab_size
    size = (c.image_size, c.image_size, c.channels)
    return ImageTextsInfo(tokenizer, vocab_size, c.context_length, c.batch_size, *size, c.fit, bool(c.views))


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


def compose(thing: Described, draws: Float[np.ndarray, " draws"]) -> str:
    """The text that a row's numbers draw: see `ImageTextsDataConfig.words_field`."""
    text = thing.texts[int(draws[0] * len(thing.texts))]
    words = thing.words[:MOST_WORDS]
    form = int(3 * draws[1]) if words else 0
    if form == 0:
        return text
    count = 1 + int(draws[2] * len(words))
    order = np.argsort(draws[3 : 3 + len(words)], kind="stable")[:count]
    chosen = ", ".join(words[i] for i in order)
    return f"{text}, {chosen}" if form == 1 else chosen


@dataclass(frozen=True, eq=False)
class ImageTextRows:
    """One thing a row: image (uint8), second_image where there are views, tokens, mask (1; 0 in rows that fill a last batch)."""

    images: UInt8[np.ndarray, "images height width channels"]
    things: tuple[Described, ...]
    tokenizer: Tokenizer
    context_length: int
    augmentation: AugmentationConfig
    seed: int
    training: bool

    @property
    def num_rows(self) -> int:
        return len(self.things)

    @property
    def pairs(self) -> bool:
        return len(self.things[0].images) > 1

    @property
    def columns(self) -> Mapping[str, tuple[tuple[int, ...], np.dtype]]:
        image = (self.images.shape[1:], np.dtype(np.uint8))
        second = {"second_image": image} if self.pairs else {}
        tokens = ((self.context_length,), np.dtype(np.int32))
        return {"image": image, **second, "tokens": tokens, "mask": ((), np.dtype(np.int32))}

    def fetch(self, epochs: Int[np.ndarray, " rows"], rows: Int[np.ndarray, " rows"]) -> dict[str, np.ndarray]:
        things, texts = [self.things[row] for row in rows], self.texts(epochs, rows)
        columns = {"tokens": text_rows(self.tokenizer, texts, self.context_length), "mask": np.ones(len(rows), np.int32)}
        numbers = np.array([thing.images for thing in things])
        if not self.pairs:
            return {"image": self._images(numbers[:, 0], epochs, rows, STREAM), **columns}
        order = np.argsort(uniforms(self.seed, SECOND_STREAM, epochs, rows, numbers.shape[1]), axis=1) if self.training else None
        numbers = np.take_along_axis(numbers, order, 1) if self.training else numbers
        images = (self._images(numbers[:, i], epochs, rows, stream) for i, stream in enumerate((STREAM, SECOND_STREAM)))
        return {**dict(zip(("image", "second_image"), images, strict=True)), **columns}

    def texts(self, epochs: Int[np.ndarray, " rows"], rows: Int[np.ndarray, " rows"]) -> list[str]:
        """One text of each: drawn for training, else the first."""
        things = [self.things[row] for row in rows]
        if not self.training:
            return [thing.texts[0] for thing in things]
        draws = uniforms(self.seed, TEXT_STREAM, epochs, rows, 3 + MOST_WORDS)
        return [compose(thing, numbers) for thing, numbers in zip(things, draws, strict=True)]

    def _images(self, numbers, epochs, rows, stream: int) -> UInt8[np.ndarray, "rows height width channels"]:
        images = np.asarray(self.images[numbers])
        return augment(images, self.augmentation, self.seed, epochs, rows, stream) if self.training else images


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


def _texts(things: Sequence[Described]) -> Iterator[str]:
    """What a tokenizer is trained on: also words as rows have them, with the commas between."""
    for thing in things:
        yield from thing.texts
        if thing.words:
            yield ", ".join((thing.texts[0], *thing.words))
