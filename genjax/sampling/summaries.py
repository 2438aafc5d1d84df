"""How commands write files: their folder is made, and a full disk is a sentence."""

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from genjax.errors import RequestError


@contextlib.contextmanager
def writing(file: Path) -> Iterator[Path]:
    """Makes the file's folder. Raises RequestError where that, or what is done inside, cannot write."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        yield file
    except OSError as error:
        raise RequestError(f"cannot write {file}: {(error.strerror or str(error)).lower()}.") from error


def new_folder(path: str) -> Path:
    """Where a command may write. Raises RequestError: a folder that holds files."""
    folder = Path(path)
    if folder.exists() and any(folder.iterdir()):
        raise RequestError(f"{folder} already holds files; choose another --out.")
    return folder


def write_text(file: Path, content: str) -> None:
    """Writes the file and makes its folder. Raises RequestError where it cannot be written."""
    with writing(file):
        file.write_text(content, encoding="utf-8")


def write_json(file: Path, values: Mapping[str, Any]) -> None:
    """Writes figures for people and programs. Raises RequestError where they cannot be written."""
    write_text(file, json.dumps(values, indent=1, ensure_ascii=False) + "\n")


def write_jsonl(file: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Writes a line for each row. Raises RequestError where they cannot be written."""
    write_text(file, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
