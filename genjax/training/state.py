"""What a run is between two steps, and how it comes to stand on a mesh."""

import fnmatch
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from flax import struct, traverse_util
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from genjax.errors import ConfigError
from genjax.parallel import rules as axis_rules
from genjax.tasks.contract import Task, Variables
from genjax.training.averages import EmaConfig


@struct.dataclass
class TrainState:
    """Everything that a step reads and writes.

    Attributes:
        step: int32 scalar, steps made so far.
        key: the run's root key; the key of a step is fold_in(key, step), so a resumed run draws the same noise.
        variables: `{component: {collection: tree}}`.
        optimizers: `{config section: optax state}`.
        ema: `{name of the average: tree of the averaged leaves}`, names as `EmaConfig.names`; empty without EMA.
        gradient_norms: `{turn: float32 scalar}`, the running mean that the spike guard compares with; 0 before the first step.
    """

    step: jax.Array
    key: jax.Array
    variables: Variables
    optimizers: Mapping[str, Any]
    ema: Mapping[str, Any]
    gradient_norms: Mapping[str, jax.Array]

    def as_dict(self) -> dict[str, Any]:
        """A shallow dict of the fields, the form in which checkpoints hold a state."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def select(variables: Variables, patterns: Sequence[str]) -> dict[str, Any]:
    """The nested tree of those leaves whose path matches one of the patterns (fnmatch; `*` also crosses `/`)."""
    flat = traverse_util.flatten_dict(variables, sep="/")
    chosen = {path: leaf for path, leaf in flat.items() if any(fnmatch.fnmatchcase(path, p) for p in patterns)}
    return traverse_util.unflatten_dict(chosen, sep="/")


def merge(variables: Variables, part: Mapping[str, Any]) -> dict[str, Any]:
    """`variables` with the leaves of `part` in place of its own. `part` may add leaves."""
    flat = traverse_util.flatten_dict(variables, sep="/", keep_empty_nodes=True)
    return traverse_util.unflatten_dict(flat | traverse_util.flatten_dict(part, sep="/"), sep="/")


def check_turns(task: Task, variables: Variables) -> dict[str, tuple[str, ...]]:
    """The patterns of each optimizer section; an error where a turn trains nothing, never comes, or turns do not go together."""
    trained: dict[str, tuple[str, ...]] = {}
    leaves: dict[str, set[str]] = {}
    for one, two in itertools.combinations(task.turns, 2):
        apart = any(a.stop is not None and a.stop <= b.start for a, b in ((one, two), (two, one)))
        if one.name == two.name or ((one.prefix or one.name) == (two.prefix or two.name) and not apart):
            raise ConfigError(f"turns {one.name!r} and {two.name!r} would report under one name on the same steps; set a prefix.")
    for turn in task.turns:
        own = set(traverse_util.flatten_dict(select(variables, turn.trains), sep="/"))
        if not own:
            paths = list(traverse_util.flatten_dict(variables, sep="/"))
            raise ConfigError(
                f"turn {turn.name!r} trains nothing: no path matches {', '.join(turn.trains)}. "
                f"Paths look like {paths[0] if paths else '(none)'}."
            )
        if turn.every < 1:
            raise ConfigError(f"turn {turn.name!r} comes every {turn.every} steps; it must be 1 or more.")
        if turn.start < 0 or (turn.stop is not None and turn.stop <= turn.start):
            raise ConfigError(f"turn {turn.name!r} comes from step {turn.start} on and before {turn.stop}: that is no step.")
        if leaves.setdefault(turn.optimizer, own) != own:
            raise ConfigError(
                f"turns that share the optimizer section {turn.optimizer!r} must train the same leaves; turn {turn.name!r} "
                f"differs in {', '.join(sorted(leaves[turn.optimizer] ^ own)[:3])}."
            )
        trained[turn.optimizer] = turn.trains
    return trained


def axis_names(boxed: Any) -> dict[str, tuple[str, ...]]:
    """`{component/collection/.../leaf: logical axis names}` of a boxed variables tree; unannotated leaves are left out."""
    flat = traverse_util.flatten_dict(boxed, sep="/")
    return {path: tuple(leaf.names) for path, leaf in flat.items() if isinstance(leaf, nn.Partitioned)}


def make_state(
    task: Task,
    key: jax.Array,
    optimizers: Mapping[str, optax.GradientTransformation],
    ema: EmaConfig,
) -> TrainState:
    """A fresh state, unboxed. Pure: it runs under `eval_shape` and `jit`."""
    init_key, root_key = jax.random.split(key)
    variables = nn.unbox(task.init(init_key))
    trained = check_turns(task, variables)
    averaged = select(variables, ema.include) if ema.names else {}
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        key=root_key,
        variables=variables,
        optimizers={name: optimizers[name].init(select(variables, patterns)) for name, patterns in trained.items()},
        ema={name: jax.tree.map(lambda x: x.astype(jnp.float32), averaged) for name in ema.names},
        gradient_norms={turn.name: jnp.zeros((), jnp.float32) for turn in task.turns},
    )


def begun_with(state: TrainState, loaded: Variables) -> TrainState:
    """A fresh state with these leaves in the place of its own, in its averages too."""
    flat = traverse_util.flatten_dict(loaded, sep="/")

    def averaged(tree: Mapping[str, Any]) -> dict[str, Any]:
        own = traverse_util.flatten_dict(tree, sep="/")
        # Copies: a step takes over the buffers of variables and of averages.
        begun = {n: jnp.copy(flat[n]).astype(own[n].dtype) for n in own if n in flat}
        return merge(tree, traverse_util.unflatten_dict(begun, sep="/"))

    ema = {name: averaged(tree) for name, tree in state.ema.items()}
    return state.replace(variables=merge(state.variables, loaded), ema=ema)


def state_shardings(state: TrainState, variable_shardings: Mapping[str, Any], mesh: Mesh) -> TrainState:
    """Shardings with the structure of the (abstract) state.

    An optimizer or EMA leaf whose path ends in a variable's path and that has its shape lies as that variable does; the rest
    (counters, factored moments) is on every device.
    """
    replicated = NamedSharding(mesh, PartitionSpec())
    by_path = traverse_util.flatten_dict(variable_shardings)
    shapes = {path: leaf.shape for path, leaf in traverse_util.flatten_dict(state.variables).items()}

    def place(path, leaf):
        keys = tuple(str(getattr(k, "key", getattr(k, "name", getattr(k, "idx", "")))) for k in path)
        for start in range(len(keys)):
            if shapes.get(keys[start:]) == leaf.shape:
                return by_path[keys[start:]]
        return replicated

    placed = jax.tree_util.tree_map_with_path(place, state)
    return placed.replace(variables=variable_shardings)


def abstract_state(task, optimizers, ema: EmaConfig, mesh: Mesh, rules) -> tuple[TrainState, TrainState]:
    """The state as shapes with shardings, and the shardings alone. Nothing is computed; call it outside a mesh context."""
    boxed = jax.eval_shape(lambda: task.init(jax.random.key(0)))
    variable_shardings = axis_rules.tree_shardings(boxed, mesh, rules)
    shapes = jax.eval_shape(lambda: make_state(task, jax.random.key(0), optimizers, ema))
    shardings = state_shardings(shapes, variable_shardings, mesh)
    abstract = jax.tree.map(lambda a, s: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=s), shapes, shardings)
    return abstract, shardings
