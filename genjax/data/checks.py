"""What config sections `data` ask of their fields."""

from collections.abc import Sequence
from typing import Any

from genjax.config import check_least
from genjax.errors import ConfigError


def check_limits(config: Any, positive: Sequence[str] = (), optional: Sequence[str] = ()) -> None:
    """Raises ConfigError: a number out of range.

    Args:
        config: `batch_size` must be 1 or more, `num_threads`, `num_workers` and `prefetch` 0 or more, `evaluation_fraction` a
            share below 1; each where there is such a field.
        positive: fields beside these that must be 1 or more.
        optional: fields beside these that must be 0 or more.
    """

    def held(*names: str) -> tuple[str, ...]:
        return tuple(name for name in names if hasattr(config, name))

    check_least(config, "data", (*held("batch_size"), *positive), (*optional, *held("num_threads", "num_workers", "prefetch")))
    fraction = getattr(config, "evaluation_fraction", 0.0)
    if not 0 <= fraction < 1:
        raise ConfigError(f"data.evaluation_fraction is {fraction}; it must be at least 0 and below 1.")
