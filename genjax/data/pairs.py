"""Supervised pairs: prompts (docstrings, instructions) with their completions, the loss on the completions alone.

As Codex-S was made (Chen et al., 2021, section 4): "we ... minimize negative log-likelihood of the reference solution, and mask
out loss for any tokens in the prompt". A pair is never cut; what is longer than a row is left out and counted.
"""

import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Int

from genjax.config import structure
from genjax.data.code.build import clean_sources
from genjax.data.code.config import CodeDataConfig
from genjax.data.code.manifest import MANIFEST, manifest_entry
from genjax.data.corpus import Corpus
from genjax.data.dataset import Datasets
from genjax.data.packing import Plan, plan_rows
from genjax.data.rows import PackedRows
from genjax.data.sources.document import Fields
from genjax.data.sources.jsonl import JsonLines
from genjax.data.sources.pairs import FunctionPairs, PairLines
from genjax.data.split import Split
from genjax.data.text import DataInfo, Layout, build_from, describe_from
from genjax.data.text_config import TextDataConfig
from genjax.data.token_cache import Record
from genjax.data.tokenizers.base import Tokenizer
from genjax.errors import ConfigError, DataError


@dataclass(frozen=True)
class PairsDataConfig(CodeDataConfig):
    """Pairs, from their source to the rows of a batch (`data.name = "pairs"`). What is not said here is as for code."""

    name: str = "pairs"
    # functions: the Python functions with docstrings in the code that `source` gives, signature and docstring -> body.
    # fields: two fields of each record of jsonl, word for word; `filters` and `duplicates` have nothing to do.
    pairs: Literal["functions", "fields"] = "functions"
    prompt_field: str = "prompt"
    completion_field: str = "completion"

    def __post_init__(self):
        super().__post_init__()
        if self.mode != "pack":
            raise ConfigError(f"data.mode='{self.mode}' does not go with data.name='pairs', which packs whole pairs; use 'pack'.")
        if self.fim is not None and self.fim.rate:
            raise ConfigError("data.fim does not go with data.name='pairs', whose prompts stay in front; leave it out.")
        if self.language_tag:
            raise ConfigError("data.language_tag does not go with data.name='pairs'; leave it out.")
        if self.pairs == "fields" and self.source != "jsonl":
            raise ConfigError(f"data.pairs='fields' needs data.source='jsonl', but data.source is '{self.source}'.")


def build_pairs(config: Mapping[str, Any], *, seed: int, cache_dir: Path | None) -> Datasets:
    """See `genjax.data.build`."""
    config = structure(PairsDataConfig, config, "config.data")
    source, evaluation = pair_sources(config)
    record = partial(_record, source, evaluation)
    return build_from(config, source, evaluation, seed=seed, cache_dir=cache_dir, record=record, lay_out=lay_out_pairs)


def describe_pairs(config: Mapping[str, Any], tokenizer: Tokenizer | None = None) -> DataInfo:
    """See `genjax.data.describe`."""
    return describe_from(structure(PairsDataConfig, config, "config.data"), tokenizer)


def pair_sources(config: PairsDataConfig) -> tuple[FunctionPairs | PairLines, FunctionPairs | PairLines | None]:
    """The pairs to train on, and those that are held out when the config names them."""
    if config.pairs == "functions":
        source, evaluation = clean_sources(config)
        held_out = FunctionPairs(evaluation) if evaluation else None
        return FunctionPairs(source, held_out), held_out
    fields = Fields(config.language_field, config.licence_field, config.path_field, config.repository_field)
    lines = partial(JsonLines, text_field=config.completion_field, encoding_errors=config.encoding_errors, fields=fields)

    def read(path: str) -> PairLines:
        return PairLines(lines(path), config.prompt_field)

    return read(config.path), read(config.evaluation_path) if config.evaluation_path else None


def lay_out_pairs(config: TextDataConfig, corpus: Corpus, seed: int | None) -> Layout:
    """Whole pairs packed together, see `genjax.data.text.Layout`.

    Args:
        corpus: documents in two parts.

    Raises:
        DataError: every pair is longer than a row.
    """
    begins, lengths = corpus.offsets[:-1:2], np.diff(corpus.offsets[::2]) + corpus.overlap
    fits = lengths - 1 <= config.sequence_length
    if not fits.any():
        part = "held-out" if seed is None else "training"
        raise DataError(
            f"all {len(lengths):,} {part} pairs are longer than data.sequence_length {config.sequence_length}, the shortest by "
            f"{int(lengths.min()) - 1 - config.sequence_length} tokens; use a longer one."
        )
    plan = plan_rows(begins[fits], lengths[fits], config.sequence_length, seed if config.shuffle else None)
    first, last = np.diff(corpus.offsets).reshape(-1, 2).T  # tokens of prompts and of completions
    learned = last - (first + corpus.overlap == 0)  # with nothing before it, a first token is not predicted
    longer = int((~fits).sum())
    notes = (f"{longer:,} of {len(fits):,} pairs left out (longer than {config.sequence_length} tokens)",) if longer else ()
    rows = PairRows(corpus, plan, config.sequence_length)
    return Layout(rows, int(fits.sum()), plan.num_predictions, int(learned[fits].sum()), notes)


@dataclass(frozen=True, eq=False)
class PairRows:
    """Packed rows of a corpus of documents in two parts; the loss is on the second part and the eos after it."""

    corpus: Corpus
    plan: Plan
    sequence_length: int

    @cached_property
    def rows(self) -> PackedRows:
        return PackedRows(self.corpus, self.plan, self.sequence_length)

    @cached_property
    def learned(self) -> PackedRows:
        """The same rows of a stream that has 1 for every token that is learned as a target, and 0 for the others."""
        sizes = np.diff(self.corpus.offsets)
        flags = np.repeat(np.arange(len(sizes), dtype=np.uint8) % 2, sizes)
        stream = replace(self.corpus, tokens=np.concatenate([np.zeros(self.corpus.overlap, np.uint8), flags]))
        return PackedRows(stream, self.plan, self.sequence_length)

    @property
    def num_rows(self) -> int:
        return self.rows.num_rows

    @property
    def columns(self) -> Mapping[str, tuple[tuple[int, ...], np.dtype]]:
        return self.rows.columns

    def fetch(self, epochs: Int[np.ndarray, " rows"], rows: Int[np.ndarray, " rows"]) -> dict[str, np.ndarray]:
        return self.rows.fetch(epochs, rows) | {"loss_mask": self.learned.fetch(epochs, rows)["targets"]}

    def __reduce__(self):
        return PairRows, (self.corpus, self.plan, self.sequence_length)


def _record(
    source: FunctionPairs | PairLines,
    evaluation: FunctionPairs | PairLines | None,
    parts: Split,
    other: Split | None,
    folder: Path | None,
) -> Record:
    """The manifest: a line for each pair, as for the documents of a dataset of code."""
    clean = [pairs.source for pairs in (source, evaluation) if isinstance(pairs, FunctionPairs)]
    notes = tuple(f"{code.title}: {code.census}" for code in clean)
    if folder is None:
        return Record(notes=notes)
    with open(folder / MANIFEST, "w", encoding="ascii") as file:
        for side, pair in itertools.chain(parts.sides(source), (("evaluation", pair) for pair in evaluation or ())):
            file.write(json.dumps(manifest_entry(pair, side)) + "\n")
    return Record((folder / MANIFEST,), notes)
