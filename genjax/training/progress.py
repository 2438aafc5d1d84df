"""What a person sees while a run trains: a bar in a terminal, a line now and then in a log."""

from collections.abc import Mapping
from typing import Any


class Progress:
    """A context manager.

    Args:
        total: steps of the whole run. initial: the step resumed from.
        unit: what the rate counts ("tokens"), as in `task.units_per_step`.
        stream: standard error by default. every_seconds: least time between two plain lines. enabled: False shows nothing.
    """

    def __init__(self, total: int, *, initial: int = 0, unit: str = "steps", stream: Any = None, every_seconds: float = 5.0,
                 enabled: bool = True): ...

    def update(self, step: int, values: Mapping[str, float] | None = None) -> None:
        """`step` steps are done. Shown of `values`: loss, accuracy, rate (units a second), mfu; the last known ones stay."""

    def message(self, text: str) -> None:
        """A line of its own that does not tear the bar."""

    def close(self) -> None: ...
