"""Folders that appear whole or not at all, and the JSON files in them."""

import contextlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from genjax.errors import CheckpointError


@contextlib.contextmanager
def staged(folder: str | Path, overwrite: bool = False, stale: tuple[str, ...] = ()) -> Iterator[Path]:
    """A hidden folder to write into; when the block ends well it becomes `folder`, when it fails it is gone.

    A new folder appears in one rename. With `overwrite`, an existing folder keeps what is not ours: files that match the
    patterns `stale` are removed and the new ones move in, one rename each.

    Raises:
        CheckpointError: `folder` holds files and `overwrite` is False, or the disk refused (full, read-only).
    """
    folder = Path(folder).absolute()
    if folder.exists() and not folder.is_dir():
        raise CheckpointError(f"{folder} is a file; name a new folder.")
    occupied = folder.is_dir() and any(folder.iterdir())
    if occupied and not overwrite:
        raise CheckpointError(f"{folder} already holds files; name a new folder, or ask for overwrite.")
    staging = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        staging = folder.parent / f".{folder.name}.{secrets.token_hex(4)}"
        staging.mkdir()
        yield staging
        for path in staging.iterdir():
            _sync(path)
        if occupied:
            _move_in(staging, folder, stale)
        else:
            os.replace(staging, folder)
    except OSError as error:
        raise CheckpointError(f"{folder} could not be written: {error.strerror or error}.") from error
    finally:
        if staging is not None and staging.exists():
            shutil.rmtree(staging, ignore_errors=True)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        CheckpointError: no such file, not JSON, or not an object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(f"{path.parent} has no {path.name}.") from error
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{path} is not readable JSON: {error}.") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} must hold a JSON object, but holds a {type(value).__name__}.")
    return value


def write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _move_in(staging: Path, folder: Path, stale: tuple[str, ...]) -> None:
    new = {path.name for path in staging.iterdir()}
    for pattern in stale:
        for path in folder.glob(pattern):
            if path.name not in new:
                path.unlink()
    for name in sorted(new):
        target = folder / name
        if target.is_dir():
            shutil.rmtree(target)
        os.replace(staging / name, target)


def _sync(path: Path) -> None:
    if path.is_file():
        with open(path, "rb") as file:
            os.fsync(file.fileno())
