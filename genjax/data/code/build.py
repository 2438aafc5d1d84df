"""The dataset of code: clean documents from any source, then the same way as text."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from genjax.config import structure
from genjax.data.code.config import CodeDataConfig
from genjax.data.code.manifest import write_manifest
from genjax.data.code.source import CleanCode
from genjax.data.dataset import Datasets
from genjax.data.fim_rows import FimConfig, FimRows, check_fim, no_sentinels
from genjax.data.rows import Rows
from genjax.data.sources.code_files import CodeFiles
from genjax.data.sources.combined import Joined, Repositories
from genjax.data.sources.document import Fields, Source
from genjax.data.sources.installed import InstalledPackages
from genjax.data.sources.stdlib import StandardLibrary
from genjax.data.text import DataInfo, build_from, describe_from, text_sources
from genjax.data.tokenizers.base import Tokenizer
from genjax.data.tokenizers.build import given_tokenizer


def build_code(config: Mapping[str, Any], *, seed: int, cache_dir: Path | None) -> Datasets:
    """See `genjax.data.build`."""
    config = structure(CodeDataConfig, config, "config.data")
    _check_tokenizer(config)
    source, evaluation = clean_sources(config)
    record = partial(write_manifest, source, evaluation)
    fim = config.fim if config.fim and config.fim.rate else None
    wrap = partial(_with_fim, fim) if fim else None
    return build_from(
        config,
        source,
        evaluation,
        seed=seed,
        cache_dir=cache_dir,
        record=record,
        wrap=wrap,
        wrap_settings=fim.settings if fim else "",
    )


def describe_code(config: Mapping[str, Any], tokenizer: Tokenizer | None = None) -> DataInfo:
    """See `genjax.data.describe`."""
    return describe_from(structure(CodeDataConfig, config, "config.data"), tokenizer)


def clean_sources(config: CodeDataConfig) -> tuple[CleanCode, CleanCode | None]:
    """The documents to train on, and those that are held out when the config names them."""
    source, evaluation = _sources(config)
    clean = partial(
        CleanCode,
        filters=config.filters,
        duplicates=config.duplicates,
        group_by_repository=config.group_by_repository,
        language_tag=config.language_tag,
        repository_order=config.document_order == "repository",
    )
    held_out = clean(evaluation) if evaluation else None
    return clean(source, held_out=held_out), held_out


def _check_tokenizer(config: CodeDataConfig) -> None:
    """Before anything is read: whether the tokenizer, there or to be trained, can do what `fim` asks for."""
    if config.fim is None or not config.fim.rate:
        return
    tokenizer = given_tokenizer(config.tokenizer)
    if tokenizer is not None:
        check_fim(tokenizer)
    elif not config.tokenizer.fim_tokens:
        raise no_sentinels()


def _with_fim(fim: FimConfig, rows: Rows, tokenizer: Tokenizer, seed: int | None) -> Rows:
    return rows if seed is None else FimRows(rows, tokenizer, fim, seed)


def _sources(config: CodeDataConfig) -> tuple[Source, Source | None]:
    if config.source in ("jsonl", "tfds"):
        fields = Fields(config.language_field, config.licence_field, config.path_field, config.repository_field)
        source, evaluation = text_sources(config, fields)
    elif config.source == "files":
        read = partial(CodeFiles, repository_depth=config.repository_depth, encoding_errors=config.encoding_errors)
        source, evaluation = read(config.path), read(config.evaluation_path) if config.evaluation_path else None
    else:
        kinds = {"stdlib": StandardLibrary, "installed": InstalledPackages}
        found = tuple(kinds[name](config.include_tests, config.encoding_errors) for name in config.source.split("+"))
        source, evaluation = found[0] if len(found) == 1 else Joined(found), None
    if patterns := config.evaluation_repositories:
        return Repositories(source, patterns, inside=False), Repositories(source, patterns)
    return source, evaluation
