"""Averages of the variables that a run keeps: exponential ones, power-function ones, and snapshots of the latter."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import traverse_util

from genjax.errors import ConfigError, RunError
from genjax.parallel import processes
from genjax.storage.power_averages import WIDEST, power_name, update_rate
from genjax.storage.snapshots import write_snapshot


@dataclass(frozen=True)
class EmaConfig:
    """Moving averages of variables. The first one, decays before stds, is what evaluation and sampling use."""

    decays: tuple[float, ...] = ()  # of exponential averages
    include: tuple[str, ...] = ("*/params/*",)
    warmup: bool = True  # of exponential averages: decay = min(decay, (1 + step) / (10 + step))
    # In place of warmup: the steps in which a weight halves are at most this share of those made so far (StyleGAN2-ADA: 0.05).
    rampup: float = 0.0
    # Relative widths of power-function averages (Karras et al., 2024): 0.10 spreads over a tenth of the run so far, however long
    # it is. Two of them with snapshots, (0.05, 0.10) as published, give any other width afterwards: sample.py --ema_std=0.13.
    stds: tuple[float, ...] = ()
    snapshot_every: int = 0  # steps between snapshots of these in RUN/ema, and one at the end; they are never removed; 0: none
    snapshot_dtype: Literal["float16", "float32"] = "float16"

    def __post_init__(self):
        if any(not 0 < decay < 1 for decay in self.decays):
            raise ConfigError(f"every EMA decay lies between 0 and 1, but ema.decays is {self.decays}.")
        if any(not 0 < std <= WIDEST for std in self.stds):
            raise ConfigError(f"every relative width is above 0 and at most {WIDEST:.4f}, but ema.stds is {self.stds}.")
        if len(set(self.names)) < len(self.names):
            raise ConfigError(f"ema.decays {self.decays} and ema.stds {self.stds} must name each average once.")
        if self.rampup < 0:
            raise ConfigError(f"ema.rampup is {self.rampup}; it must be 0 (none) or more.")
        if self.snapshot_every < 0 or (self.snapshot_every and not self.stds):
            raise ConfigError(
                f"ema.snapshot_every is {self.snapshot_every} and ema.stds {self.stds}; snapshots are of the averages that stds "
                "names: set it to (0.05, 0.10), or snapshot_every to 0."
            )

    @property
    def names(self) -> tuple[str, ...]:
        """What the state calls the averages."""
        return (*map(str, self.decays), *map(power_name, self.stds))


def update(averages: Mapping[str, Any], variables: Any, step: jax.Array, config: EmaConfig) -> dict[str, Any]:
    """The averages after a step; `variables` are those that are averaged, as the step left them, and `step` counts from 0."""
    count = step.astype(jnp.float32)
    new = {}
    for decay in config.decays:
        keep = _decay(decay, count, config)
        blend = lambda old, value, keep=keep: old * keep + value.astype(jnp.float32) * (1 - keep)  # noqa: E731
        new[str(decay)] = jax.tree.map(blend, averages[str(decay)], variables)
    for std in config.stds:
        rate = update_rate(count + 1, std)
        # In a factor of `old` a small rate would drown in the rounding of 1 - rate, step for step to the same side.
        move = lambda old, value, rate=rate: old + (value.astype(jnp.float32) - old) * rate  # noqa: E731
        new[power_name(std)] = jax.tree.map(move, averages[power_name(std)], variables)
    return new


def _decay(decay: float, count: jax.Array, config: EmaConfig) -> jax.Array | float:
    """Of an exponential average, after so many steps."""
    if config.rampup:
        half_life = jnp.minimum(math.log(0.5) / math.log(decay), config.rampup * count)
        return 0.5 ** (1 / jnp.maximum(half_life, 1e-3))  # at the first steps 0, without a division by it
    return jnp.minimum(decay, (1 + count) / (10 + count)) if config.warmup else decay


def save_snapshots(folder: Path, step: int, averages: Mapping[str, Any], config: EmaConfig) -> None:
    """Writes the power-function averages of a step. Every process calls it; the main one writes.

    Raises:
        RunError: the disk refused; on all processes.
    """
    for std in config.stds:
        flat = traverse_util.flatten_dict(averages[power_name(std)], sep="/")
        leaves = {name: processes.on_host(leaf) for name, leaf in flat.items()}
        problem = None
        if processes.is_main():
            try:
                write_snapshot(folder, step, std, leaves, config.snapshot_dtype)
            except OSError as error:
                problem = error
        if processes.worst(int(problem is not None)):
            reason = (problem.strerror or str(problem)).lower() if problem else "see the main process"
            raise RunError(f"the snapshot of step {step} cannot be written to {folder}: {reason}.") from problem
