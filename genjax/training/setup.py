"""From a config to everything that the loop drives: mesh, data, task, optimizers and the step."""

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from genjax import data as data_room
from genjax import tasks
from genjax.config import unknown_key_message
from genjax.errors import ConfigError
from genjax.parallel import rules as axis_rules
from genjax.parallel.compiler import compiler_options
from genjax.parallel.mesh import make_mesh
from genjax.sampling.adopted import FILE as SOURCE
from genjax.sampling.adopted import Source, sources
from genjax.sampling.run import run_task, run_variables
from genjax.tasks.contract import Task
from genjax.training.optimizers import make_optimizer
from genjax.training.run_config import RunConfig, check_batch
from genjax.training.state import TrainState, abstract_state, axis_names, make_state
from genjax.training.step import Part, make_train_step, metric_names, updates_before, zero_totals


@dataclass(frozen=True)
class Plan:
    """A run that is fully described and not yet computed."""

    config: RunConfig
    task: Task
    datasets: Any  # data.Datasets, or None when only compiling
    mesh: Mesh
    rules: Any
    optimizers: Mapping[str, tuple]
    abstract: TrainState  # shapes with shardings
    shardings: TrainState
    batch: Mapping[str, jax.ShapeDtypeStruct]  # the global batch, with shardings
    sources: Mapping[str, Source]  # of networks that a fresh run takes over

    def context(self):
        """The mesh and rules that sharding constraints inside a jitted function refer to."""
        return axis_rules.context(self.mesh, self.rules)

    @functools.cached_property
    def abstract_totals(self) -> dict[str, Any]:
        """Shapes of a step's metrics, each a sum and a weight. Kept, as finding the names traces every loss."""
        replicated = NamedSharding(self.mesh, PartitionSpec())
        with self.context():
            names = metric_names(self.task, self.abstract.variables, self.batch)
        shape = jax.ShapeDtypeStruct((), jnp.float32, sharding=replicated)
        return {name: (shape, shape) for name in [*names, "bad_step"]}

    def lower_step(self, part: Part | None = None):
        """A part of the train step (None: all turns and the close) lowered for this mesh; `.compile()` makes it callable as
        step(state, totals, batch)."""
        totals = self.abstract_totals
        step = make_train_step(
            self.task,
            self.optimizers,
            part=part,
            accumulation=self.config.train.accumulation,
            ema=self.config.ema,
            guard=self.config.guard,
        )
        replicated = jax.tree.map(lambda a: a.sharding, totals)
        with self.context():
            options = compiler_options(self.mesh.devices.flat[0].platform)
            places = (self.shardings, replicated)
            jitted = jax.jit(step, donate_argnums=(0, 1), out_shardings=places, compiler_options=options)
            return jitted.lower(self.abstract, totals, self.batch)

    def fresh_state(self) -> TrainState:
        """A state from the run's seed, each leaf created where it lies."""
        transforms = {name: transform for name, (transform, _) in self.optimizers.items()}
        build = lambda: make_state(self.task, jax.random.key(self.config.seed), transforms, self.config.ema)  # noqa: E731
        with self.context():
            return jax.jit(build, out_shardings=self.shardings)()

    def adopted(self) -> Mapping[str, Any]:
        """The components that a fresh run takes over from others."""
        found = {}
        for name, source in self.sources.items():
            found[name] = run_variables(source.run, run_task(source.run), source.step, mesh=self.mesh, rules=self.rules)
        return self.task.adopt(found)

    def fresh_totals(self) -> dict[str, Any]:
        return jax.device_put(zero_totals(self.abstract_totals), NamedSharding(self.mesh, PartitionSpec()))

    @property
    def parameters(self) -> int:
        leaves = jax.tree.leaves({name: c.get("params", {}) for name, c in self.abstract.variables.items()})
        return sum(math.prod(leaf.shape) for leaf in leaves)

    @property
    def unsharded(self) -> list[str]:
        """Parameters with a dimension that the mesh could not split."""
        boxed = jax.eval_shape(lambda: self.task.init(jax.random.key(0)))
        return axis_rules.unsharded_report(boxed, self.mesh, self.rules)


def make_plan(
    config: RunConfig, *, cache_dir: Path | None = None, adopted_dir: Path | None = None, devices=None, with_data: bool = True
) -> Plan:
    """Builds the plan; every complaint about a config comes from here, before anything is compiled or written.

    Args:
        config: the structured config.
        cache_dir: where tokenized data is kept; None keeps it in memory.
        adopted_dir: where a run that has begun keeps what describes the networks that it took over from others.
        devices: the mesh's devices (a TPU topology's, say); None: all of this machine's.
        with_data: False builds the task from the config alone, for compiling without the data.
    """
    mesh = make_mesh(config.mesh, devices)
    rules = axis_rules.make_rules(config.rules)
    batch_size = config.data.get("batch_size", 0)
    if not isinstance(batch_size, int) or batch_size < 1:
        raise ConfigError(f"config.data.batch_size must be a positive whole number, but is {batch_size!r}.")
    mesh_text = " ".join(f"{axis}={size}" for axis, size in mesh.shape.items() if size > 1)
    check_batch(batch_size, config.train.accumulation, axis_rules.batch_parts(mesh, rules), mesh_text)

    datasets = data_room.build(config.data, seed=config.seed, cache_dir=cache_dir) if with_data else None
    info = datasets.train.info if datasets else data_room.describe(config.data)
    taken = sources(config.task, adopted_dir) if with_data else {}
    places = {name: Path(place).expanduser() for name, place in tasks.adopted_runs(config.task).items()}
    places |= {name: adopted_dir / name for name in places if adopted_dir and (adopted_dir / name / SOURCE).is_file()}
    section = {**config.task, **{f"{name}_digest": source.digest for name, source in taken.items()}}
    task = tasks.build(section, info, {name: run_task(place) for name, place in places.items()})
    _check_sections(config, task)
    if datasets:
        _check_batch_spec(datasets.train.spec, task.batch_spec)

    names = axis_names(jax.eval_shape(lambda: task.init(jax.random.key(0))))
    optimizers = {
        section: make_optimizer(config.optimizers[section], updates_before(task.turns, section, config.train.steps), names)
        for section in dict.fromkeys(turn.optimizer for turn in task.turns)
    }
    transforms = {name: transform for name, (transform, _) in optimizers.items()}
    abstract, shardings = abstract_state(task, transforms, config.ema, mesh, rules)
    batch = {
        name: jax.ShapeDtypeStruct(spec.shape, spec.dtype, sharding=axis_rules.batch_sharding(mesh, rules, len(spec.shape)))
        for name, spec in task.batch_spec.items()
    }
    return Plan(config, task, datasets, mesh, rules, optimizers, abstract, shardings, batch, taken)


def _check_sections(config: RunConfig, task: Task) -> None:
    used = {turn.optimizer for turn in task.turns}
    for section in used - set(config.optimizers):
        raise ConfigError(f"task {config.task.get('name')!r} needs the section config.{section}; add it to the config.")
    for section in set(config.optimizers) - used - {"optimizer"}:
        raise ConfigError(unknown_key_message(f"config.{section}", section, used))


def _check_batch_spec(given: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    for name, spec in expected.items():
        if name not in given:
            raise ConfigError(f"the task reads {name!r} from a batch, but the data gives {', '.join(given)}; choose other data.")
        if tuple(given[name].shape) != tuple(spec.shape):
            raise ConfigError(
                f"the task expects {name!r} of shape {tuple(spec.shape)}, but the data gives {tuple(given[name].shape)}."
            )
