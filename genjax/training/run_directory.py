"""A run directory: one writer at a time, one config, and a record of what ran."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


class RunDirectory:
    """Creates and locks `path`; a context manager. Process 0 locks and writes, the others only learn whether that worked.

    Attributes: path, checkpoints (Path), tensorboard, samples, metrics, report.

    Raises:
        RunError: the path is a file, is not writable, or another process (named: host, pid, since) holds it.
    """

    def __init__(self, path: Path | str): ...

    def write_config(self, config: Any, *, changeable: Sequence[str] = (), allow_changes: bool = False) -> list[str]:
        """Stores config.json, or compares with the stored one; returns the lines of the differences that were accepted.

        Raises: ConfigError that lists every differing key that is not `changeable` (fnmatch patterns: "train.steps", "mesh.*").
        """

    def write_environment(self, extra: Mapping[str, Any] | None = None) -> None:
        """Appends this start to environment.json: versions, devices, git commit, command line."""

    def close(self) -> None: ...
