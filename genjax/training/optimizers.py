"""Optimizers and learning-rate schedules: a config section to an optax transformation."""

import fnmatch
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax
from flax import traverse_util

from genjax.errors import ConfigError

Schedule = Callable[[jax.Array], jax.Array]


@dataclass(frozen=True)
class OptimizerConfig:
    """One optimizer section. Steps are updates of this optimizer."""

    name: Literal["adamw", "adam", "adafactor", "lion", "muon", "sgd"] = "adamw"
    schedule: Literal["warmup_cosine", "warmup_stable_decay", "inverse_sqrt", "linear", "constant"] = "warmup_cosine"
    peak_lr: float = 3e-4
    end_lr: float = 0.0  # where cosine, linear and stable-decay schedules end
    warmup_steps: int = 0  # linear warmup from 0
    decay_steps: int = 0  # the step at which the schedule ends; 0: the run's last step
    decay_fraction: float = 0.1  # warmup_stable_decay: the share of the run that decays
    b1: float = 0.9  # also SGD's and Muon's momentum
    b2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.0  # decoupled, multiplied by the learning rate
    no_decay: tuple[str, ...] = ("*/bias", "*/scale")  # path patterns without weight decay
    clip_norm: float = 0.0  # global gradient norm; 0: no clipping
    moment_dtype: Literal["float32", "bfloat16"] = "float32"  # first moment of adam, lion, muon
    adam_lr: float = 0.0  # muon: learning rate of embeddings, head, norms and biases; 0: peak_lr

    def __post_init__(self):
        if self.peak_lr <= 0:
            raise ConfigError(f"an optimizer's peak_lr must be positive, but is {self.peak_lr}.")
        if self.warmup_steps < 0 or self.clip_norm < 0 or self.weight_decay < 0:
            raise ConfigError("an optimizer's warmup_steps, clip_norm and weight_decay cannot be negative.")
        if not 0 < self.decay_fraction <= 1:
            raise ConfigError(f"decay_fraction is a share of the run in (0, 1], but is {self.decay_fraction}.")


def make_schedule(config: OptimizerConfig, total_steps: int, peak_lr: float | None = None) -> Schedule:
    """The learning rate as a function of the number of updates made so far."""
    peak, warmup = peak_lr or config.peak_lr, config.warmup_steps
    end = config.decay_steps or total_steps
    if warmup and warmup >= end and config.schedule not in ("constant", "inverse_sqrt"):
        raise ConfigError(f"warmup_steps {warmup} must be under the schedule's {end} steps; shorten the warmup or train longer.")
    remaining = max(end - warmup, 1)
    if config.schedule == "warmup_cosine":
        main = optax.cosine_decay_schedule(peak, remaining, alpha=config.end_lr / peak)
    elif config.schedule == "linear":
        main = optax.linear_schedule(peak, config.end_lr, remaining)
    elif config.schedule == "warmup_stable_decay":
        decay = min(max(int(end * config.decay_fraction), 1), remaining)
        main = optax.join_schedules(
            [optax.constant_schedule(peak), optax.linear_schedule(peak, config.end_lr, decay)], [remaining - decay]
        )
    elif config.schedule == "inverse_sqrt":
        reference = max(warmup, 1)
        main = lambda count: peak * jnp.sqrt(reference / jnp.maximum(count + reference, 1))  # noqa: E731
    else:
        main = optax.constant_schedule(peak)
    if not warmup:
        return main
    # The first update is at count 0 and must not be lost, so the ramp starts one notch above zero.
    ramp = lambda count: peak * (count + 1) / warmup  # noqa: E731
    return optax.join_schedules([ramp, main], [warmup])


def make_optimizer(
    config: OptimizerConfig, total_steps: int, axis_names: Mapping[str, tuple[str, ...]]
) -> tuple[optax.GradientTransformation, Schedule]:
    """The transformation and its schedule.

    Args:
        config: the section.
        total_steps: updates in the whole run.
        axis_names: `{path: logical axis names}` of the parameters; Muon reads from them which axes of a kernel are inputs.
    """
    schedule = make_schedule(config, total_steps)
    decay_mask = lambda tree: _map_paths(lambda path, _: not _matches(path, config.no_decay), tree)  # noqa: E731
    decay = {"weight_decay": config.weight_decay}
    moment = jnp.dtype(config.moment_dtype)
    if config.name == "adamw":
        core = optax.adamw(schedule, config.b1, config.b2, config.eps, mu_dtype=moment, mask=decay_mask, **decay)
    elif config.name == "adam":
        core = optax.adam(schedule, config.b1, config.b2, config.eps, mu_dtype=moment)
    elif config.name == "lion":
        core = optax.lion(schedule, config.b1, config.b2, mu_dtype=moment, mask=decay_mask, **decay)
    elif config.name == "sgd":
        core = optax.sgd(schedule, momentum=config.b1 or None)
    elif config.name == "adafactor":
        core = optax.chain(
            optax.adafactor(None, multiply_by_parameter_scale=False, momentum=None, weight_decay_rate=None),
            # optax.adafactor ends in a descent direction already when no rate is given.
            optax.add_decayed_weights(-config.weight_decay, decay_mask),
            optax.scale_by_schedule(schedule),
        )
    else:
        adam_schedule = make_schedule(config, total_steps, config.adam_lr) if config.adam_lr else schedule
        core = optax.contrib.muon(
            schedule,
            beta=config.b1,
            mu_dtype=moment,
            weight_decay_mask=decay_mask,
            adam_b2=config.b2,
            adam_weight_decay=0.0,
            adam_learning_rate=adam_schedule,
            muon_weight_dimension_numbers=lambda tree: _map_paths(
                lambda path, _: muon_dimensions(axis_names.get(path, ())), tree
            ),
            consistent_rms=0.2,
            **decay,
        )
    if config.clip_norm:
        core = optax.chain(optax.clip_by_global_norm(config.clip_norm), core)
    return core, schedule


def muon_dimensions(names: tuple[str, ...]) -> Any:
    """Which axes of a kernel Muon orthogonalizes; None for those that Adam trains (embeddings, head, norms, biases).

    Kernels are (inputs..., outputs...): inputs are the one leading axis when that is the residual stream (`embed`), else all
    axes but the last. A `layers` axis of scanned blocks is a batch of matrices.
    """
    axes = [(i, name) for i, name in enumerate(names) if name != "layers"]
    if len(axes) < 2 or any(name in ("vocab", "position") for _, name in axes):
        return None
    split = 1 if axes[0][1] == "embed" else len(axes) - 1
    positions = [i for i, _ in axes]
    return optax.contrib.MuonDimensionNumbers(tuple(positions[:split]), tuple(positions[split:]))


def _matches(path: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch.fnmatchcase(path, pattern) for pattern in patterns)


def _map_paths(function: Callable[[str, Any], Any], tree: Mapping[str, Any]) -> Mapping[str, Any]:
    flat = traverse_util.flatten_dict(tree, sep="/")
    return traverse_util.unflatten_dict({path: function(path, leaf) for path, leaf in flat.items()}, sep="/")
