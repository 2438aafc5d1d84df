"""Tokenized corpora kept in a folder: made once, found again by fingerprint, safe when two processes want them at once."""

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from genjax.data.corpus import Corpus, open_corpus
from genjax.data.tokenizers.base import Tokenizer
from genjax.data.tokenizers.load import load_tokenizer
from genjax.errors import DataError
from genjax.storage.folder_cache import made_once

log = logging.getLogger(__name__)
META = "meta.json"


@dataclass(frozen=True)
class Record:
    """What is kept beside the tokens: files (in the cache's folder) that go into the run directory, and sentences."""

    files: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Tokenized:
    """A tokenizer and what it made of the text. `evaluation` is None when nothing is held out."""

    tokenizer: Tokenizer
    train: Corpus
    evaluation: Corpus | None
    record: Record = Record()


def cached(cache_dir: Path, fingerprint: str, make: Callable[[Path], Tokenized]) -> Tokenized:
    """What lies in the cache under `fingerprint`, made by `make(folder)` first if need be; see `made_once`."""

    def write(folder: Path) -> None:
        _write(folder, make(folder))

    return made_once(Path(cache_dir) / f"text-{fingerprint}", _open, write, "the cache of tokenized text", "data.cache_dir")


def _write(folder: Path, made: Tokenized) -> None:
    made.tokenizer.save(folder / "tokenizer")
    corpora = {"train": made.train, "evaluation": made.evaluation}
    meta = {
        name: {"overlap": c.overlap, "num_bytes": c.num_bytes, "tokens": len(c.tokens), "documents": c.num_documents}
        for name, c in corpora.items()
        if c is not None
    }
    meta |= {"tokenizer": made.tokenizer.fingerprint, "notes": made.record.notes}
    meta |= {"files": {file.name: file.stat().st_size for file in made.record.files}}
    (folder / META).write_text(json.dumps(meta, indent=1), encoding="utf-8")


def _open(folder: Path) -> Tokenized | None:
    if not folder.is_dir():
        return None
    try:
        meta = json.loads((folder / META).read_text(encoding="utf-8"))
        tokenizer = load_tokenizer(folder / "tokenizer")
        corpora = {
            name: open_corpus(folder, name, meta[name]["overlap"], meta[name]["num_bytes"])
            for name in ("train", "evaluation")
            if name in meta
        }
        whole = all(len(c.tokens) == meta[n]["tokens"] and c.num_documents == meta[n]["documents"] for n, c in corpora.items())
        record = Record(tuple(folder / name for name in meta.get("files", ())), tuple(meta.get("notes", ())))
        whole = whole and all(file.stat().st_size == meta["files"][file.name] for file in record.files)
        if not whole or tokenizer.fingerprint != meta["tokenizer"]:
            raise ValueError("its parts do not fit together")
    except (OSError, ValueError, KeyError, DataError) as error:
        log.warning("the tokenized text in %s is damaged (%s) and is made again", folder, error)
        return None
    return Tokenized(tokenizer, corpora["train"], corpora.get("evaluation"), record)
