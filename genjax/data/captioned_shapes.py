"""Colored shapes with captions (`data.name = "captioned_shapes"`): how well a picture fits its text can be counted."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from genjax.config import structure
from genjax.data.checks import check_limits
from genjax.data.dataset import Datasets
from genjax.data.image_texts import ImageTextsInfo
from genjax.data.shapes import TRAINING_SEED, ShapeRows, ShapesDataConfig, build_rows
from genjax.data.sources.shapes import combinations
from genjax.data.text_config import TokenizerConfig
from genjax.data.text_rows import text_rows
from genjax.data.tokenizers.base import Tokenizer
from genjax.data.tokenizers.build import given_tokenizer, train_tokenizer

FORMAT = "captions 1"  # of the rows: change it when the same config gives other batches than before
_READ_FOR_TOKENIZER = 4000  # captions; they have some sixty words


@dataclass(frozen=True)
class CaptionedShapesConfig(ShapesDataConfig):
    """Scenes of shapes, drawn and said: the fields of `ShapesDataConfig`, and those of the captions."""

    name: str = "captioned_shapes"
    tokenizer: TokenizerConfig = field(default_factory=lambda: TokenizerConfig(name="wordpiece", vocab_size=256))
    context_length: int = 24  # tokens of a row, the special ones with them

    def __post_init__(self):
        super().__post_init__()
        check_limits(self, positive=("context_length",))


def build_captioned_shapes(config: Mapping[str, Any], *, seed: int, cache_dir: Path | None) -> Datasets:
    """See `genjax.data.build`. Nothing is cached."""
    c = structure(CaptionedShapesConfig, config, "config.data")
    tokenizer = given_tokenizer(c.tokenizer) or _trained(c)

    def make(pictures: ShapeRows) -> tuple[CaptionedRows, ImageTextsInfo]:
        number = pictures.num_rows
        info = replace(_described(c, tokenizer), num_rows=number, num_texts=number)
        return CaptionedRows(pictures, tokenizer, c.context_length), info

    return build_rows(c, seed, make, FORMAT, tokenizer.fingerprint, str(c.context_length))


def describe_captioned_shapes(config: Mapping[str, Any], tokenizer: Tokenizer | None = None) -> ImageTextsInfo:
    """See `genjax.data.describe`."""
    return _described(structure(CaptionedShapesConfig, config, "config.data"), tokenizer)


@dataclass(frozen=True, eq=False)
class CaptionedRows:
    """One picture a row: image (uint8), tokens of its caption, in each epoch said in another way, mask (1; the rows that fill a
    last batch have 0)."""

    pictures: ShapeRows
    tokenizer: Tokenizer
    context_length: int

    @property
    def num_rows(self) -> int:
        return self.pictures.num_rows

    @property
    def columns(self) -> Mapping[str, tuple[tuple[int, ...], np.dtype]]:
        own = self.pictures.columns
        return {"image": own["image"], "tokens": ((self.context_length,), np.dtype(np.int32)), "mask": own["mask"]}

    def fetch(self, epochs: Int[np.ndarray, " rows"], rows: Int[np.ndarray, " rows"]) -> dict[str, np.ndarray]:
        found = self.pictures.fetch(epochs, rows)
        tokens = text_rows(self.tokenizer, self.texts(epochs, rows), self.context_length)
        return {"image": found["image"], "tokens": tokens, "mask": found["mask"]}

    def texts(self, epochs: Int[np.ndarray, " rows"], rows: Int[np.ndarray, " rows"]) -> list[str]:
        """The captions."""
        return self.pictures.captions(epochs, rows)


def _described(c: CaptionedShapesConfig, tokenizer: Tokenizer | None) -> ImageTextsInfo:
    vocab_size = tokenizer.vocab_size if tokenizer else c.tokenizer.vocab_size
    return ImageTextsInfo(tokenizer, vocab_size, c.context_length, c.batch_size, c.image_size, c.image_size, 3)


def _trained(c: CaptionedShapesConfig) -> Tokenizer:
    """The words of all scenes: those that are held out have no words of their own."""
    rows = np.arange(_READ_FOR_TOKENIZER)
    pictures = ShapeRows(combinations(c.num_groups), c.image_size, _READ_FOR_TOKENIZER, TRAINING_SEED)
    captions = pictures.captions(np.zeros_like(rows), rows)
    return train_tokenizer(c.tokenizer, lambda: captions, lambda limit: captions)
