"""Tokenized corpora kept in a folder: made once, found again by fingerprint, safe when two processes want them at once."""

import contextlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from genjax.data.corpus import Corpus, open_corpus
from genjax.data.tokenizers.base import Tokenizer
from genjax.data.tokenizers.load import load_tokenizer
from genjax.errors import DataError

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
    """What lies in the cache under `fingerprint`, made by `make(folder)` first if need be.

    `make` writes into a temporary folder beside the final one, which takes its name when all is written: there is never half
    a cache. One process makes while others wait; where locks do not work (some network drives), both make and one is kept.

    Raises:
        DataError: the cache folder cannot be written.
    """
    final = Path(cache_dir) / f"text-{fingerprint}"
    if (found := _open(final)) is not None:
        return found
    try:
        Path(cache_dir).mkdir(parents=True, exist_ok=True)
        with _lock(Path(cache_dir) / f"text-{fingerprint}.lock"):
            if (found := _open(final)) is not None:
                return found
            shutil.rmtree(final, ignore_errors=True)  # what is there could not be opened
            temporary = Path(tempfile.mkdtemp(prefix=f"text-{fingerprint}.", dir=cache_dir))
            try:
                _write(temporary, make(temporary))
                with contextlib.suppress(OSError):  # another process was first
                    os.rename(temporary, final)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise DataError(
            f"the cache of tokenized text {cache_dir} cannot be written: {error.strerror or error}. "
            "Free some space, or set data.cache_dir to another folder."
        ) from error
    found = _open(final)
    if found is None:
        raise DataError(
            f"the cache of tokenized text {final} cannot be read back; remove it, or set data.cache_dir to another folder."
        )
    return found


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
    os.chmod(folder, 0o755)  # mkdtemp's folders are closed to everyone else, and a cache may be shared


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


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    try:
        import fcntl
    except ImportError:  # not a Unix: renaming alone keeps the cache whole
        yield
        return
    with open(path, "w") as file:
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
