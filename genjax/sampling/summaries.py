"""What the commands that measure a model leave in their folder."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from genjax.errors import RequestError


def write_text(file: Path, content: str) -> None:
    """Writes the file and makes its folder. Raises RequestError where it cannot be written."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content, encoding="utf-8")
    except OSError as error:
        raise RequestError(f"cannot write {file}: {(error.strerror or str(error)).lower()}.") from error


def write_json(file: Path, values: Mapping[str, Any]) -> None:
    """Writes figures for people and programs. Raises RequestError where they cannot be written."""
    write_text(file, json.dumps(values, indent=1) + "\n")
