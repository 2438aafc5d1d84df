"""The train step: a task's turns as one jitted, donated, sharded function."""

import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax

from genjax.parallel.rules import constrain, current_platform
from genjax.tasks.contract import Aux, Batch, Task, Turn, Variables
from genjax.training.averages import EmaConfig, update
from genjax.training.optimizers import Schedule
from genjax.training.state import TrainState, merge, select

Totals = Mapping[str, tuple[jax.Array, jax.Array]]

OF_EVERY_TURN = ("loss", "gradient_norm", "learning_rate")  # metrics beside those of its loss

# A norm is a spike only in comparison with a settled mean.
_SPIKE_WARMUP_STEPS = 100
_NORM_MEAN_DECAY = 0.99


@dataclass(frozen=True)
class GuardConfig:
    """What happens when a loss or gradient is not finite, or its norm jumps."""

    policy: Literal["raise", "skip", "off"] = "raise"  # stop the run / leave the bad update out / no check
    spike_factor: float = 0.0  # a gradient norm over this multiple of its running mean counts as bad; 0: off
    max_skipped: int = 100  # under "skip": this many bad steps within one log interval stop the run


@dataclass(frozen=True)
class Part:
    """Of a step: turns that come together, compiled into one program.

    Attributes:
        turns: their names.
        every, start, stop: on which steps they come, as `Turn` says.
        closes: whether the step ends with it: averages are moved, and the step is counted.
    """

    turns: tuple[str, ...]
    every: int = 1
    start: int = 0
    stop: int | None = None
    closes: bool = False

    def due(self, step: int) -> bool:
        return spans(self, step) and step % self.every == 0


def spans(item: Part | Turn, step: int) -> bool:
    """Whether a step lies in its range, be it due or not."""
    return item.start <= step and (item.stop is None or step < item.stop)


def parts_of(turns: Sequence[Turn]) -> tuple[Part, ...]:
    """A step in parts, in order: one where all turns come on every step, else one for each run of turns that come together, and
    one that closes.

    Which parts a step has is known on the host. A condition on the device would have the host of a GPU wait, and XLA's CPU
    compiler computes gradients of convolutions within one a hundred times slower (jaxlib 0.10.2).
    """
    groups = itertools.groupby(turns, lambda turn: (turn.every, turn.start, turn.stop))
    parts = tuple(Part(tuple(turn.name for turn in group), *steps) for steps, group in groups)
    whole = len(parts) == 1 and parts[0] == Part(parts[0].turns)
    return (replace(parts[0], closes=True),) if whole else (*parts, Part((), closes=True))


def updates_before(turns: Sequence[Turn], section: str, step: Any) -> Any:
    """How many updates an optimizer section has made before a step; a number, or traced."""
    least = jnp.minimum if isinstance(step, jax.Array) else min

    def made(turn: Turn) -> Any:
        end = step if turn.stop is None else least(step, turn.stop)
        return -(-end // turn.every) - -(-least(step, turn.start) // turn.every)

    return sum(made(turn) for turn in turns if turn.optimizer == section)


def make_train_step(
    task: Task,
    optimizers: Mapping[str, tuple[optax.GradientTransformation, Schedule]],
    *,
    part: Part | None = None,
    accumulation: int = 1,
    ema: EmaConfig | None = None,
    guard: GuardConfig | None = None,
) -> Callable[[TrainState, Totals, Batch], tuple[TrainState, Totals]]:
    """`step(state, totals, batch) -> (state, totals)`, pure; the caller jits it.

    `totals` holds running sums of the metrics since the last report (`{name: (total, weight)}`), so that nothing has to
    be fetched between reports. It also holds `bad_step` (steps whose update was left out, and the first of them).

    Args:
        part: of the step; None: all turns and the close, whatever their steps.
    """
    ema, guard = ema or EmaConfig(), guard or GuardConfig()
    turns = tuple(task.turns)
    part = part or Part(tuple(turn.name for turn in turns), closes=True)

    def step(state: TrainState, totals: Totals, batch: Batch) -> tuple[TrainState, Totals]:
        step_key = jax.random.fold_in(state.key, state.step)
        metrics: dict[str, tuple[jax.Array, jax.Array]] = {}
        for index, turn in enumerate(turns):
            if turn.name not in part.turns:
                continue
            play = _turn_function(turn, turns, optimizers[turn.optimizer], accumulation, guard)
            state, own = play(state, batch, jax.random.fold_in(step_key, index))
            metrics |= own
        bad = sum((value for name, (value, _) in metrics.items() if name.endswith("bad_step")), jnp.zeros((), jnp.float32))
        metrics = {name: value for name, value in metrics.items() if not name.endswith("bad_step")}
        first_bad = jnp.where(bad > 0, state.step.astype(jnp.float32), jnp.inf)
        if part.closes:
            averages = update(state.ema, select(state.variables, ema.include), state.step, ema)
            state = state.replace(step=state.step + 1, ema=averages)
        count, first = totals["bad_step"]
        new = dict(totals) | {name: jax.tree.map(jnp.add, totals[name], value) for name, value in metrics.items()}
        return state, new | {"bad_step": (count + jnp.minimum(bad, 1.0), jnp.minimum(first, first_bad))}

    return step


def zero_totals(metric_names) -> dict[str, tuple[jax.Array, jax.Array]]:
    """Fresh totals for the given metric names."""
    zero = lambda: jnp.zeros((), jnp.float32)  # noqa: E731  (each leaf its own buffer: totals are donated)
    totals = {name: (zero(), zero()) for name in metric_names if name != "bad_step"}
    return totals | {"bad_step": (zero(), jnp.full((), jnp.inf, jnp.float32))}


def metric_names(task: Task, variables: Variables, batch: Batch) -> list[str]:
    """The names of the metrics that a step of this task reports; found by tracing losses, nothing is computed. Those of all turns
    are traced, so that shapes which do not go together are complained of at the start, whenever their turn would come."""
    names: set[str] = set()
    for turn in task.turns:
        _, aux = jax.eval_shape(turn.loss, variables, batch, jax.eval_shape(lambda: jax.random.key(0)))
        names |= {_named(turn, task.turns, name) for name in (*aux.metrics, *OF_EVERY_TURN)}
    return sorted(names)


def _named(turn: Turn, turns: Sequence[Turn], metric: str) -> str:
    """A metric under the turn's prefix, where there are several turns."""
    return f"{turn.prefix or turn.name}/{metric}" if len(turns) > 1 else metric


def _turn_function(turn: Turn, turns: Sequence[Turn], optimizer, accumulation: int, guard: GuardConfig):
    """`play(state, batch, key) -> (state, metrics)`; metrics bear the turn's prefix where there are several."""
    transform, schedule = optimizer

    def play(state: TrainState, batch: Batch, key: jax.Array):
        trainable = select(state.variables, turn.trains)
        loss, aux, gradients = _gradients(turn, trainable, state.variables, batch, key, accumulation)
        norm = optax.tree.norm(gradients).astype(jnp.float32)
        mean_norm = state.gradient_norms[turn.name]
        good = jnp.isfinite(loss) & jnp.isfinite(norm)
        if guard.spike_factor:
            settled = (state.step >= turn.start + _SPIKE_WARMUP_STEPS) & (mean_norm > 0)
            good &= ~settled | (norm <= guard.spike_factor * mean_norm)
        old = (trainable, state.optimizers[turn.optimizer])
        collections = aux.collections

        def update(gradients, trainable, optimizer_state):
            updates, optimizer_state = transform.update(gradients, optimizer_state, trainable)
            return optax.apply_updates(trainable, updates), optimizer_state

        new_mean = jnp.where(mean_norm > 0, _NORM_MEAN_DECAY * mean_norm + (1 - _NORM_MEAN_DECAY) * norm, norm)
        if guard.policy != "off":
            # Every leaf of a bad step stays as it was: state and checkpoints are never poisoned, whichever policy decides
            # later what to do about it.
            updated, optimizer_state = _update_if(good, update, gradients, old)
            keep = lambda new, old: jnp.where(good, new, old)  # noqa: E731
            collections = jax.tree.map(keep, collections, _like(collections, state.variables))
            new_mean = keep(new_mean, mean_norm)
        else:
            updated, optimizer_state = update(gradients, *old)
        name = functools.partial(_named, turn, turns)
        one = jnp.ones((), jnp.float32)
        # A bad step is counted, not averaged: one NaN would hide the whole interval.
        clean = lambda pair: tuple(jnp.where(good, x.astype(jnp.float32), 0.0) for x in pair)  # noqa: E731
        metrics = {name(n): clean(pair) for n, pair in aux.metrics.items()}
        metrics[name("loss")] = clean((loss * aux.weight, jnp.asarray(aux.weight)))
        metrics[name("gradient_norm")] = clean((norm, one))
        made = updates_before(turns, turn.optimizer, state.step)
        metrics[name("learning_rate")] = (jnp.asarray(schedule(made), jnp.float32), one)
        metrics[name("bad_step")] = (1.0 - good.astype(jnp.float32), one)
        return (
            state.replace(
                variables=merge(merge(state.variables, collections), updated),
                optimizers=dict(state.optimizers) | {turn.optimizer: optimizer_state},
                gradient_norms=dict(state.gradient_norms) | {turn.name: new_mean},
            ),
            metrics,
        )

    return play


def _update_if(good: jax.Array, update: Callable, gradients: Any, old: tuple[Any, ...]) -> tuple[Any, ...]:
    """`update(gradients, *old)` where `good`, else `old`."""
    if current_platform() == "cpu":
        # A select would make XLA's CPU compiler copy the whole state first: a sixth of a step of the 124M GPT.
        return jax.lax.cond(good, update, lambda gradients, *old: old, gradients, *old)
    # Here the select is fused with the update, and a condition would have the host of a GPU wait for the gradient.
    return jax.tree.map(lambda new, old: jnp.where(good, new, old), update(gradients, *old), old)


def _gradients(turn: Turn, trainable, variables, batch: Batch, key: jax.Array, accumulation: int):
    """Mean loss, Aux and gradients of the whole batch; with accumulation, over microbatches weighted by Aux.weight."""

    def weighted_loss(trainable, variables, batch, key):
        loss, aux = turn.loss(merge(variables, trainable), batch, key)
        weight = jax.lax.stop_gradient(jnp.asarray(aux.weight, jnp.float32))
        return loss * weight, (loss, aux.replace(weight=weight))

    if accumulation == 1:
        loss_function = lambda t: turn.loss(merge(variables, t), batch, key)  # noqa: E731
        (loss, aux), gradients = jax.value_and_grad(loss_function, has_aux=True)(trainable)
        return loss, aux.replace(weight=jnp.asarray(aux.weight, jnp.float32)), gradients

    microbatches = jax.tree.map(lambda x: _split(x, accumulation), dict(batch))
    keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(accumulation))
    first = jax.tree.map(lambda x: x[0], microbatches)
    _, aux_shape = jax.eval_shape(turn.loss, variables, first, keys[0])
    zeros = lambda tree: jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), tree)  # noqa: E731
    start = (
        zeros(trainable),
        jnp.zeros((), jnp.float32),
        jnp.zeros((), jnp.float32),
        zeros(aux_shape.metrics),
        _like(aux_shape.collections, variables),
    )

    def accumulate(carry, xs):
        gradients, total, weight, metrics, collections = carry
        microbatch, key = xs
        current = merge(variables, collections)
        (value, (_, aux)), new = jax.value_and_grad(weighted_loss, has_aux=True)(trainable, current, microbatch, key)
        add = lambda a, b: jax.tree.map(lambda x, y: x + y.astype(x.dtype), a, b)  # noqa: E731
        return (
            add(gradients, new),
            total + value.astype(jnp.float32),
            weight + aux.weight,
            add(metrics, aux.metrics),
            aux.collections,
        ), None

    (gradients, total, weight, metrics, collections), _ = jax.lax.scan(accumulate, start, (microbatches, keys))
    safe = jnp.maximum(weight, 1e-20)
    gradients = jax.tree.map(lambda g: (g / safe).astype(g.dtype), gradients)
    return total / safe, Aux(weight=weight, metrics=metrics, collections=collections), gradients


def _split(x: jax.Array, accumulation: int) -> jax.Array:
    """[B, ...] -> [accumulation, B / accumulation, ...]; microbatch a takes rows a, a + accumulation, ... so that each device
    finds its share among the rows that it already holds."""
    rows = x.shape[0] // accumulation
    split = x.reshape((rows, accumulation) + x.shape[1:]).swapaxes(0, 1)
    return constrain(split, None, "activation_batch", *(None,) * (x.ndim - 1))


def _like(part: Any, variables: Any) -> Any:
    """The leaves of `variables` at the paths of `part`."""
    if isinstance(part, Mapping):
        return {name: _like(value, variables[name]) for name, value in part.items()}
    return variables
