"""report.png: a run on one page."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def write_report(metrics_path: Path | str, png_path: Path | str, *, title: str, facts: Mapping[str, Any] | None = None) -> None:
    """Panels for losses, accuracies, learning rate, gradient norm, throughput and what else metrics.jsonl holds, and the facts."""
