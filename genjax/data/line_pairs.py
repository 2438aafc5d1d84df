"""Aligned pairs, from two text files to the rows of a batch: what sequence-to-sequence models learn from."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from genjax.config import structure
from genjax.data.checks import check_limits
from genjax.data.corpus import Corpus
from genjax.data.dataset import Batches, Dataset, Datasets, Reading
from genjax.data.hashing import digest
from genjax.data.line_pair_rows import LinePairRows, sides_of
from genjax.data.pair_packing import one_pair_a_row, pack_pairs
from genjax.data.sources.aligned import AlignedLines
from genjax.data.sources.document import EncodingErrors
from genjax.data.text import tokenized
from genjax.data.text_config import TokenizerConfig
from genjax.data.tokenizers.base import Tokenizer
from genjax.errors import ConfigError, DataError

FORMAT = "1"  # of the rows: change it when the same config gives other batches than before


@dataclass(frozen=True)
class LinePairsDataConfig:
    """The config section `data` of aligned pairs (`data.name = "line_pairs"`)."""

    name: str = "line_pairs"
    # Line n of `target` is what line n of `source` says: files, folders or globs ($NAME and ~ are expanded), also of .gz files.
    source: str = ""
    target: str = ""
    # What is held out: other files, or a part of the pairs (chosen by the hash of the source).
    evaluation_source: str = ""
    evaluation_target: str = ""
    evaluation_fraction: float = 0.05
    encoding_errors: EncodingErrors = "raise"  # bytes that are not UTF-8: an error, or U+FFFD
    # One tokenizer for both sides; a trained one learns from both.
    tokenizer: TokenizerConfig = field(default_factory=lambda: TokenizerConfig("sentencepiece"))
    batch_size: int = 32  # rows of a global batch, over all processes
    # Tokens of a row on either side, the ends of text included; pairs that are longer are left out and counted.
    source_length: int = 128
    target_length: int = 128
    pack: bool = True  # several pairs to a row; False: one, and padding
    shuffle: bool = True  # rows in an order drawn from the seed, another one each epoch
    # How it is read. None of these changes a batch.
    num_threads: int = 2  # threads that make batches ahead; 0: made when asked for
    num_workers: int = 0  # processes that do so
    prefetch: int = 8  # batches made ahead
    cache_dir: str = ""  # a folder for tokenized text that runs share; "" : the one that the run gives

    def __post_init__(self):
        check_limits(self, positive=("source_length", "target_length"))
        if bool(self.evaluation_source) != bool(self.evaluation_target):
            raise ConfigError("data.evaluation_source and data.evaluation_target are given together, or neither.")


@dataclass(frozen=True)
class LinePairsInfo:
    """A dataset of pairs in figures.

    Attributes:
        tokenizer: of both sides; None in a description without data.
        batch_size: rows of a global batch.
        source_length, target_length: tokens of a row.
        packed: whether a row may hold several pairs.
        num_pairs, num_rows: of an epoch.
        num_source_tokens, num_target_tokens: of an epoch, the ends of text included.
        notes: sentences about what the rows do not hold.
    """

    tokenizer: Tokenizer | None
    vocab_size: int
    batch_size: int
    source_length: int
    target_length: int
    packed: bool = True
    num_pairs: int = 0
    num_rows: int = 0
    num_source_tokens: int = 0
    num_target_tokens: int = 0
    notes: tuple[str, ...] = ()

    def save(self, run: Path) -> None:
        """Leaves in the run directory what sampling from it needs beside the weights: RUN/tokenizer."""
        if self.tokenizer is not None and not (run / "tokenizer").is_dir():
            self.tokenizer.save(run / "tokenizer")

    def __str__(self) -> str:
        rows = max(self.num_rows, 1)
        filled = self.num_source_tokens / (rows * self.source_length), self.num_target_tokens / (rows * self.target_length)
        figures = (
            f"{self.num_pairs:,} pairs of {self.num_source_tokens:,} and {self.num_target_tokens:,} tokens (vocabulary "
            f"{self.vocab_size:,}), {self.num_rows:,} rows of {self.source_length} and {self.target_length} an epoch, "
            f"{filled[0]:.1%} and {filled[1]:.1%} filled"
        )
        return "; ".join([figures, *self.notes])


def build_line_pairs(config: Mapping[str, Any], *, seed: int, cache_dir: Path | None) -> Datasets:
    """See `genjax.data.build`."""
    config = structure(LinePairsDataConfig, config, "config.data")
    made, fingerprint = tokenized(config, *line_pair_sources(config), cache_dir)
    shape = (FORMAT, config.source_length, config.target_length, config.batch_size, config.pack, config.shuffle)
    fingerprint = digest(fingerprint, made.tokenizer.fingerprint, repr(shape), str(seed))
    train = _dataset(config, made.tokenizer, made.train, fingerprint, seed)
    return Datasets(
        train, None if made.evaluation is None else _dataset(config, made.tokenizer, made.evaluation, fingerprint, None)
    )


def describe_line_pairs(config: Mapping[str, Any], tokenizer: Tokenizer | None = None) -> LinePairsInfo:
    """See `genjax.data.describe`."""
    c = structure(LinePairsDataConfig, config, "config.data")
    vocab_size = tokenizer.vocab_size if tokenizer else c.tokenizer.vocab_size
    return LinePairsInfo(tokenizer, vocab_size, c.batch_size, c.source_length, c.target_length, c.pack)


def line_pair_sources(config: LinePairsDataConfig) -> tuple[AlignedLines, AlignedLines | None]:
    """The pairs to train on, and those that are held out where the config names them.

    Raises:
        ConfigError: no files are named.
    """
    for name in ("source", "target"):
        if not getattr(config, name):
            raise ConfigError(f"data.{name} is empty; set it to a text file with a {name} on each line.")
    held_out = None
    if config.evaluation_source:
        held_out = AlignedLines(config.evaluation_source, config.evaluation_target, config.encoding_errors)
    return AlignedLines(config.source, config.target, config.encoding_errors), held_out


def _dataset(config: LinePairsDataConfig, tokenizer: Tokenizer, corpus: Corpus, fingerprint: str, seed: int | None) -> Dataset:
    """A training dataset when there is a seed, otherwise an evaluation dataset: in order, finite, every pair once."""
    sides = sides_of(corpus, tokenizer.bos_id, tokenizer.eos_id)
    sizes, room = sides.sizes + 1, (config.source_length, config.target_length)
    fits = (sizes <= room).all(axis=1)
    part = "training" if seed is not None else "held-out"
    if not fits.any():
        source, target = sizes[sizes.sum(axis=1).argmin()]
        raise DataError(
            f"all {len(fits):,} {part} pairs are longer than data.source_length {room[0]} or data.target_length {room[1]}; the "
            f"shortest has {source} and {target} tokens."
        )
    pairs = np.flatnonzero(fits)
    order = seed if config.shuffle else None
    plan = pack_pairs(pairs, sizes[pairs], room, order) if config.pack else one_pair_a_row(pairs)
    longer = len(fits) - len(pairs)
    notes = (f"{longer:,} of {len(fits):,} pairs left out (longer than {room[0]} and {room[1]} tokens)",) if longer else ()
    source_tokens, target_tokens = sizes[pairs].sum(axis=0).tolist()
    info = LinePairsInfo(
        tokenizer,
        tokenizer.vocab_size,
        config.batch_size,
        *room,
        packed=config.pack,
        num_pairs=len(pairs),
        num_rows=plan.num_rows,
        num_source_tokens=source_tokens,
        num_target_tokens=target_tokens,
        notes=notes,
    )
    batches = Batches(LinePairRows(sides, plan, *room), config.batch_size, order, endless=seed is not None)
    return Dataset(info, fingerprint, batches, Reading(config.num_threads, config.num_workers, config.prefetch))
