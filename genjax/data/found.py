"""What a run's data said of itself: keys of `config.data` that were left to it (class names, image size), kept in the run."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from genjax.data.tokenizers.base import read_json

FILE = "data.json"


def save_found(run: Path, values: Mapping[str, Any]) -> None:
    """Leaves the values in a run directory."""
    temporary = run / f"{FILE}.{os.getpid()}.tmp"
    temporary.write_text(json.dumps(values, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(temporary, run / FILE)


def with_found(config: Mapping[str, Any], run: Path) -> Mapping[str, Any]:
    """The section `data` of a run, with what its data said. Raises DataError: a file that cannot be read."""
    return {**config, **read_json(run / FILE)} if (run / FILE).exists() else config
