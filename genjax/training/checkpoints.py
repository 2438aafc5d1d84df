"""Asynchronous sharded checkpoints with retention, integrity checks and a way back from a broken one.

A step's folder is `RUN/checkpoints/<step>/` with the Orbax items `state` (arrays), `meta` (JSON of the caller: config, data
position, versions) and `manifest` (JSON: shape, dtype and checksum of every leaf of `state`).
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


class Checkpoints:
    """The checkpoints of one run directory. Every process of a run calls every method, in the same order.

    Args:
        directory: `RUN/checkpoints`; created.
        keep: how many of the newest steps stay.
        keep_every: steps that this number divides stay for ever; 0 for none.
        asynchronous: write in the background; `save` returns when the arrays have left the devices.
        stop_on_failure: a save that fails (disk full) raises RunError (True), or is one warning and the run goes on (False).
        report: receives each warning as one line.
    """

    def __init__(
        self,
        directory: Path | str,
        *,
        keep: int = 3,
        keep_every: int = 0,
        asynchronous: bool = True,
        stop_on_failure: bool = True,
        report: Callable[[str], None] | None = None,
    ): ...

    def save(self, step: int, state: Mapping[str, Any], meta: Mapping[str, Any]) -> bool:
        """Starts saving; returns False when nothing is being written because the disk is full and `stop_on_failure` is off."""

    def restore(self, abstract: Mapping[str, Any], step: int | None = None) -> tuple[dict[str, Any], dict[str, Any], int]:
        """`(state, meta, step)` of `step`, or of the newest good checkpoint, on the shardings of `abstract` (ShapeDtypeStructs)."""

    @property
    def latest_step(self) -> int | None: ...

    @property
    def all_steps(self) -> list[int]: ...

    def check(self) -> None:
        """Surfaces the failure of a background save, if there was one. Does not wait; cheap enough for every step."""

    def wait(self) -> None:
        """Waits for the background save."""

    def close(self) -> None:
        """Waits and frees the threads. Also a context manager."""
