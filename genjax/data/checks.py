"""What config sections `data` ask of their fields."""

from collections.abc import Sequence
from typing import Any

from genjax.errors import ConfigError


def check_limits(config: Any, positive: Sequence[str] = (), optional: Sequence[str] = ()) -> None:
    """Raises ConfigError: a number out of range.

    Args:
        config: `batch_size` must be 1 or more, `num_threads`, `num_workers` and `prefetch` 0 or more, `evaluation_fraction` a
            share below 1; each where there is such a field.
        positive: fields beside these that must be 1 or more.
        optional: fields beside these that must be 0 or more.
    """
    for names, least, limit in (
        (("batch_size", *positive), 1, "at least 1"),
        ((*optional, "num_threads", "num_workers", "prefetch"), 0, "0 or more"),
    ):
        for name in names:
            if getattr(config, name, least) < least:
                raise ConfigError(f"data.{name} is {getattr(config, name)}; it must be {limit}.")
    fraction = getattr(config, "evaluation_fraction", 0.0)
    if not 0 <= fraction < 1:
        raise ConfigError(f"data.evaluation_fraction is {fraction}; it must be at least 0 and below 1.")
