"""The text dataset: sources, held-out part, tokenizer, cache and rows joined as the config says."""

import itertools
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from genjax.config import structure
from genjax.data.corpus import Corpus, tokenize
from genjax.data.dataset import Batches, Dataset, Datasets, Reading
from genjax.data.hashing import digest
from genjax.data.packing import plan_rows
from genjax.data.rows import PackedRows, Rows, WindowRows
from genjax.data.sources.document import NO_FIELDS, Fields, Source
from genjax.data.sources.jsonl import JsonLines
from genjax.data.sources.stdlib import StandardLibrary
from genjax.data.sources.text_files import TextFiles
from genjax.data.sources.tfds import TensorFlowDataset
from genjax.data.split import Split, split
from genjax.data.text_config import TextDataConfig
from genjax.data.token_cache import Record, Tokenized, cached
from genjax.data.tokenizers.base import Tokenizer
from genjax.data.tokenizers.build import given_tokenizer, train_tokenizer
from genjax.errors import DataError

FORMAT = "1"  # of the rows: change it when the same config gives other batches than before
SAMPLE_BLOCK = 10_000  # characters taken or left together when a tokenizer is trained on a part of the corpus

# record(parts, parts of the other place or None, folder or None): what is to be kept of the choice of documents.
Recorder = Callable[[Split, Split | None, Path | None], Record]
# lay_out(config, corpus, seed): how tokens become rows; `seed` is None for held-out rows, which are in order.
LayOut = Callable[[TextDataConfig, Corpus, int | None], "Layout"]
# wrap(rows, tokenizer, seed): rows that are changed before they make a batch; `seed` is None for held-out rows.
RowWrapper = Callable[[Rows, Tokenizer, int | None], Rows]


@dataclass(frozen=True, eq=False)
class Layout:
    """Rows, and what there is to say of them.

    Attributes:
        num_documents: that the rows hold.
        num_targets: of an epoch, without padding; `num_predictions` of them are learned.
        notes: sentences about what the rows do not hold.
    """

    rows: Rows
    num_documents: int
    num_targets: int
    num_predictions: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class DataInfo:
    """A text dataset in figures.

    Attributes:
        tokenizer: what made the tokens, and turns them back into text; None in a description without data.
        batch_size: rows of a global batch.
        num_rows: rows of an epoch.
        num_documents, num_tokens, num_bytes: of the corpus; specials count as tokens, not as bytes of text.
        num_predictions: targets of an epoch that are learned.
        fill: the part of an epoch's targets that is not padding.
        files: what `save` copies into the run directory: the manifest of a dataset of code.
        notes: sentences about the choice of documents.
        bidirectional: whether each token is its own target.
    """

    tokenizer: Tokenizer | None
    vocab_size: int
    batch_size: int
    sequence_length: int
    mode: str
    num_rows: int
    num_documents: int
    num_tokens: int
    num_bytes: int
    num_predictions: int
    fill: float
    files: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()
    bidirectional: bool = False

    def save(self, run: Path) -> None:
        """Leaves in the run directory what sampling from it needs beside the weights, RUN/tokenizer, and `files`."""
        if self.tokenizer is not None and not (run / "tokenizer").is_dir():
            self.tokenizer.save(run / "tokenizer")
        for file in self.files:
            temporary = run / f"{file.name}.{os.getpid()}.tmp"
            shutil.copyfile(file, temporary)
            os.replace(temporary, run / file.name)

    def __str__(self) -> str:
        figures = (
            f"{self.num_documents:,} documents of {self.num_bytes:,} bytes, {self.num_tokens:,} tokens (vocabulary "
            f"{self.vocab_size:,}), {self.num_rows:,} rows of {self.sequence_length} an epoch, {self.fill:.1%} filled"
        )
        return "; ".join([figures, *self.notes])


def build_text(config: Mapping[str, Any], *, seed: int, cache_dir: Path | None) -> Datasets:
    """See `genjax.data.build`."""
    config = structure(TextDataConfig, config, "config.data")
    return build_from(config, *text_sources(config), seed=seed, cache_dir=cache_dir)


def build_from(
    config: TextDataConfig,
    source: Source,
    evaluation_source: Source | None,
    *,
    seed: int,
    cache_dir: Path | None,
    record: Recorder | None = None,
    lay_out: LayOut | None = None,
    wrap: RowWrapper | None = None,
    wrap_settings: str = "",
) -> Datasets:
    """The datasets of documents, whatever they are and wherever they come from.

    Args:
        evaluation_source: the held-out documents, when they come from another place.
        seed, cache_dir: see `genjax.data.build`.
        record: keeps a record of the choice of documents.
        lay_out: how tokens become rows; None: as the config's `mode` says.
        wrap: changes rows; `wrap_settings` says how, for the fingerprint.
    """
    made, fingerprint = tokenized(config, source, evaluation_source, cache_dir, record)

    def dataset(corpus: Corpus, order_seed: int | None) -> Dataset:
        rows_fingerprint = digest(fingerprint, wrap_settings) if wrap else fingerprint
        return _dataset(config, made, corpus, rows_fingerprint, order_seed, lay_out or lay_out_text, wrap)

    return Datasets(dataset(made.train, seed), None if made.evaluation is None else dataset(made.evaluation, None))


def tokenized(
    config: Any,
    source: Source,
    evaluation_source: Source | None,
    cache_dir: Path | None,
    record: Recorder | None = None,
) -> tuple[Tokenized, str]:
    """The documents as tokens, from the cache where it has them, and a fingerprint of what decides them.

    Args:
        config: with `tokenizer`, `evaluation_fraction` and `cache_dir`. The others as for `build_from`.
    """
    cache_dir = Path(config.cache_dir).expanduser() if config.cache_dir else cache_dir
    given = given_tokenizer(config.tokenizer)
    parts = (
        FORMAT,
        source.fingerprint,
        evaluation_source.fingerprint if evaluation_source else repr(config.evaluation_fraction),
        given.fingerprint if given else json.dumps(config.tokenizer.settings, sort_keys=True),
    )
    fingerprint = digest(*parts)

    def make(folder: Path | None) -> Tokenized:
        return _tokenize(config, source, evaluation_source, given, folder, record)

    return make(None) if cache_dir is None else cached(cache_dir, fingerprint, make), fingerprint


def describe_text(config: Mapping[str, Any], tokenizer: Tokenizer | None = None) -> DataInfo:
    """See `genjax.data.describe`."""
    return describe_from(structure(TextDataConfig, config, "config.data"), tokenizer)


def describe_from(config: TextDataConfig, tokenizer: Tokenizer | None) -> DataInfo:
    """What can be said of the datasets of `build_from` before anything is read."""
    return DataInfo(
        tokenizer=tokenizer,
        vocab_size=tokenizer.vocab_size if tokenizer else config.tokenizer.vocab_size,
        batch_size=config.batch_size,
        sequence_length=config.sequence_length,
        mode=config.mode,
        num_rows=0,
        num_documents=0,
        num_tokens=0,
        num_bytes=0,
        num_predictions=0,
        fill=1.0,
        bidirectional=config.bidirectional,
    )


def text_sources(config: TextDataConfig, fields: Fields = NO_FIELDS) -> tuple[Source, Source | None]:
    """Where the documents come from, and where the held-out ones do when that is another place.

    Args:
        fields: jsonl, tfds: the fields beside `text_field`.
    """
    if config.source == "stdlib":
        return StandardLibrary(config.include_tests), None
    if config.source == "tfds":
        read = partial(TensorFlowDataset, config.tfds_name, data_dir=config.path, text_field=config.text_field, fields=fields)
        place, other = config.tfds_split, config.evaluation_tfds_split
    elif config.source == "jsonl":
        read = partial(JsonLines, text_field=config.text_field, fields=fields)
        place, other = config.path, config.evaluation_path
    else:
        read = partial(TextFiles, separator=config.document_separator)
        place, other = config.path, config.evaluation_path
    read = partial(read, encoding_errors=config.encoding_errors)
    return read(place), read(other) if other else None


def _tokenize(
    config: TextDataConfig,
    source: Source,
    evaluation_source: Source | None,
    given: Tokenizer | None,
    folder: Path | None,
    record: Recorder | None,
) -> Tokenized:
    parts = split(source, 0.0 if evaluation_source else config.evaluation_fraction)
    other = split(evaluation_source, 0.0) if evaluation_source else None

    def evaluation_texts() -> Iterable[str]:
        return other.train(evaluation_source) if other else parts.evaluation(source)

    def all_texts() -> Iterable[str]:
        return itertools.chain(parts.train(source), evaluation_texts())

    def in_parts(where: Split, documents: Source, side: str) -> Iterable[tuple[str, ...]]:
        return (document.parts for place, document in where.sides(documents) if place == side)

    tokenizer = given or train_tokenizer(config.tokenizer, all_texts, lambda limit: _sample(parts, source, limit))
    train = tokenize(in_parts(parts, source, "train"), parts.train_characters, tokenizer, folder, "train")
    characters = other.train_characters if other else parts.evaluation_characters
    held_out = in_parts(other, evaluation_source, "train") if other else in_parts(parts, source, "evaluation")
    evaluation = tokenize(held_out, characters, tokenizer, folder, "evaluation") if characters else None
    return Tokenized(tokenizer, train, evaluation, record(parts, other, folder) if record else Record())


def _sample(parts: Split, source: Source, limit: int) -> Iterator[str]:
    """About `limit` characters of the training documents in blocks, evenly spread over the corpus."""
    share = min(1.0, limit / max(1, parts.train_characters))
    due = 0.0
    for text in parts.train(source):
        for start in range(0, len(text), SAMPLE_BLOCK):
            due += share
            if due >= 1.0 or share == 1.0:
                due -= 1.0
                yield text[start : start + SAMPLE_BLOCK]


def lay_out_text(config: TextDataConfig, corpus: Corpus, seed: int | None) -> Layout:
    """Pieces of documents packed together, or windows of the stream."""
    length, order = config.sequence_length, seed if config.shuffle else None
    shift = 0 if config.bidirectional else 1
    predictions = np.maximum(corpus.lengths - shift, 0).sum() if config.mode == "pack" else max(0, len(corpus.tokens) - 1)
    _check_size(config, int(predictions), len(corpus.tokens), training=seed is not None)
    if config.mode == "pack":
        # A plan counts the targets of n tokens as n - 1.
        plan = plan_rows(corpus.offsets[:-1], corpus.lengths + 1 - shift, length, order)
        rows = PackedRows(corpus, plan, length, config.continue_positions, shift)
        predictions = plan.num_predictions
    else:
        rows = WindowRows(corpus, length, seed, shift)
        predictions = min(int(predictions), rows.num_rows * length)
    return Layout(rows, corpus.num_documents, predictions, predictions)


def _dataset(
    config: TextDataConfig,
    made: Tokenized,
    corpus: Corpus,
    fingerprint: str,
    seed: int | None,
    lay_out: LayOut,
    wrap: RowWrapper | None,
) -> Dataset:
    """A training dataset when there is a seed, otherwise an evaluation dataset: in order, finite, every token once."""
    layout = lay_out(config, corpus, seed)
    rows = wrap(layout.rows, made.tokenizer, seed) if wrap else layout.rows
    info = DataInfo(
        tokenizer=made.tokenizer,
        vocab_size=made.tokenizer.vocab_size,
        batch_size=config.batch_size,
        sequence_length=config.sequence_length,
        mode=config.mode,
        num_rows=rows.num_rows,
        num_documents=layout.num_documents,
        num_tokens=len(corpus.tokens),
        num_bytes=corpus.num_bytes,
        num_predictions=layout.num_predictions,
        fill=layout.num_targets / (rows.num_rows * config.sequence_length),
        files=made.record.files,
        notes=made.record.notes + layout.notes,
        bidirectional=config.bidirectional,
    )
    shape = (config.mode, config.sequence_length, config.batch_size, config.continue_positions, config.shuffle, seed)
    shape += ("bidirectional",) if config.bidirectional else ()  # rows from before this setting keep their fingerprint
    batches = Batches(rows, config.batch_size, seed if config.shuffle else None, endless=seed is not None)
    reading = Reading(config.num_threads, config.num_workers, config.prefetch)
    return Dataset(info, digest(fingerprint, made.tokenizer.fingerprint, repr(shape)), batches, reading)


def _check_size(config: TextDataConfig, predictions: int, tokens: int, training: bool) -> None:
    part = "training" if training else "held-out"
    if predictions < 1:
        raise DataError(
            f"the {part} text has {tokens} tokens and nothing to predict; use more text, or another data.evaluation_fraction."
        )
    if training and predictions < config.sequence_length:
        raise DataError(
            f"data.sequence_length {config.sequence_length} is longer than the training text, which has {tokens:,} tokens "
            f"({predictions:,} to predict); use {predictions} or less, or more text."
        )
