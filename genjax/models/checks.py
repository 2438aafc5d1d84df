"""What configs of networks ask of their fields."""

from collections.abc import Sequence
from typing import Any

from genjax.config import check_least
from genjax.errors import ConfigError


def check_sizes(config: Any, positive: Sequence[str], optional: Sequence[str] = ()) -> None:
    """Raises ConfigError: a size out of range, heads that do not divide the width, or a dropout that is no probability.

    Args:
        config: `num_heads`, `embed_dim`, `head_dim`, `dropout` and `start_id` are looked at where there are such.
        positive: fields that must be 1 or more.
        optional: fields that must be 0 or more.
    """
    check_least(config, "model", positive, optional)
    if hasattr(config, "num_heads") and not getattr(config, "head_dim", 0) and config.embed_dim % config.num_heads:
        near = config.num_heads * max(1, round(config.embed_dim / config.num_heads))
        hint = f"use {near}, or set head_dim." if hasattr(config, "head_dim") else f"use {near}."
        raise ConfigError(f"model.embed_dim {config.embed_dim} does not divide over num_heads {config.num_heads}; {hint}")
    dropout = getattr(config, "dropout", 0.0)
    if not 0 <= dropout < 1:
        raise ConfigError(f"model.dropout is {dropout}; it must be at least 0 and less than 1.")
    if not 0 <= (start := getattr(config, "start_id", 0)) < getattr(config, "vocab_size", start + 1):
        raise ConfigError(f"model.start_id {start} is no token: the vocabulary has {config.vocab_size}.")
