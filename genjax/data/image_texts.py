"""Images with texts (`data.name = "image_texts"`): files or a TFDS dataset; one text drawn for each row.

A metadata.jsonl has the texts of the images, or files beside them do, as in WebDataset: see `genjax.data.metadata`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int, UInt8

from genjax.config import structure
from genjax.data.augmentation import STREAM, AugmentationConfig, augment
from genjax.data.dataset import Batches, Dataset, Datasets, Reading
from genjax.data.draws import uniforms
from genjax.data.found import save_found
from genjax.data.hashing import digest
from genjax.data.image_codes import CodesInfo
from genjax.data.image_text_places import Described, DescribedImages, read_text_places
from genjax.data.image_texts_config import ImageTextsDataConfig
from genjax.data.text_rows import text_rows
from genjax.data.tokenizers.base import Tokenizer
from genjax.data.tokenizers.build import given_tokenizer, train_tokenizer

FORMAT = "1"  # of the rows: change it when the same config gives other batches than before
TEXT_STREAM, SECOND_STREAM = 0x747874, STREAM + 1
MOST_WORDS = 32  # of an image that a row's text is drawn from


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


def build_image_texts(config: Mapping[str, Any], *, seed: int, cache_dir: Path | None) -> Datasets:
    """See `genjax.data.build`."""
    config = structure(ImageTextsDataConfig, config, "config.data")
    cache_dir = Path(config.cache_dir).expanduser() if config.cache_dir else cache_dir
    train, evaluation = read_text_places(config, cache_dir)
    things = (*train.things, *(evaluation.things if evaluation else ()))
    tokenizer = given_tokenizer(config.tokenizer) or train_tokenizer(
        config.tokenizer, partial(_texts, things), lambda limit: _texts(train.things)
    )
    _, height, width, channels = train.images.shape
    decides = (
        *(config.views, config.text_field, config.words_field, config.context_length, config.evaluation_fraction),
        *(config.image_size, config.fit, config.channels, config.batch_size, config.shuffle, config.augmentation, seed),
    )
    fingerprints = dict.fromkeys(mark for found in (train, evaluation) if found for mark in found.fingerprints)
    fingerprint = digest(FORMAT, *fingerprints, tokenizer.fingerprint, repr(decides))

    def dataset(found: DescribedImages, training: bool) -> Dataset:
        rows = ImageTextRows(found.images, found.things, tokenizer, config.context_length, config.augmentation, seed, training)
        info = ImageTextsInfo(
            *(tokenizer, tokenizer.vocab_size, config.context_length, config.batch_size, height, width, channels, config.fit),
            pairs=bool(config.views),
            num_rows=len(found.things),
            num_texts=sum(len(thing.texts) for thing in found.things),
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


def _texts(things: Sequence[Described]) -> Iterator[str]:
    """What a tokenizer is trained on: also words as rows have them, with the commas between."""
    for thing in things:
        yield from thing.texts
        if thing.words:
            yield ", ".join((thing.texts[0], *thing.words))
