"""metrics.jsonl and tensorboard events, whole again after a kill and without repeats after a resume."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any


class MetricsWriter:
    """Appends to `directory/metrics.jsonl` and `directory/tensorboard/`; a context manager.

    Args:
        directory: the run directory.
        resumed_from: step of the restored checkpoint: later lines are dropped. None starts afresh: all lines are dropped.
        enabled: False writes nothing (processes other than the first).
    """

    def __init__(self, directory: Path | str, *, resumed_from: int | None = None, enabled: bool = True): ...

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """One line `{"step", "time", name: value...}`. A step may have several lines with different names."""

    def close(self) -> None: ...


def read_metrics(path: Path | str) -> list[dict[str, Any]]:
    """One record a step, in order, the step's lines merged; "NaN" and "Infinity" become floats; torn lines are skipped."""
