"""Logical axis names, and the one table that says where on the mesh each of them lives.

Parameters and activations name their dimensions (`embed`, `heads`, `activation_batch`); this file turns names into
shardings. A config may override rows of the table.
"""

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any

import jax
from flax import linen as nn
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from genjax.config import choose
from genjax.errors import ConfigError
from genjax.parallel.mesh import AXES

Rules = Mapping[str, str | tuple[str, ...] | None]

DEFAULT_RULES: Rules = MappingProxyType(
    {
        # Parameters.
        "embed": "fsdp",
        "heads": "tensor",
        "kv_heads": "tensor",
        "head_dim": None,
        "mlp": "tensor",
        "vocab": "tensor",
        "layers": None,
        "norm": None,
        "position": None,
        # Activations.
        "activation_batch": ("data", "fsdp"),
        "activation_length": "sequence",
        "activation_embed": None,
        "activation_heads": "tensor",
        "activation_kv_heads": "tensor",
        "activation_head_dim": None,
        "activation_mlp": "tensor",
        "activation_vocab": "tensor",
    }
)

# What `context` opened, for `constrain` and the attention kernels: it would otherwise have to be handed through every module.
_CONTEXT: ContextVar[tuple[Mesh, Rules] | None] = ContextVar("genjax_parallel_context", default=None)


def make_rules(overrides: Sequence[tuple[str, str | Sequence[str] | None]] = ()) -> Rules:
    """`DEFAULT_RULES` with rows replaced.

    Args:
        overrides: pairs of a logical name and a mesh axis, several mesh axes, or None for "not split".

    Raises:
        ConfigError: unknown logical name or mesh axis (the nearest known one is named), or the same axis twice in a row.
    """
    table = dict(DEFAULT_RULES)
    for row in overrides:
        if isinstance(row, str) or len(row) != 2:
            raise ConfigError(f"a sharding rule is a pair (logical name, mesh axis), but {row!r} was given.")
        name, axes = row
        choose("sharding rule: logical name", name, table)
        if isinstance(axes, Sequence) and not isinstance(axes, str):
            axes = tuple(axes)
        for axis in _as_tuple(axes):
            choose(f"sharding rule for {name!r}: mesh axis", axis, dict.fromkeys(AXES))
        if len(set(_as_tuple(axes))) < len(_as_tuple(axes)):
            raise ConfigError(f"sharding rule for {name!r} names a mesh axis twice: {axes!r}.")
        table[name] = axes
    return MappingProxyType(table)


@contextlib.contextmanager
def context(mesh: Mesh, rules: Rules = DEFAULT_RULES) -> Iterator[None]:
    """Within it, `constrain` means something and attention kernels know the mesh.

    It must surround every call of a jitted function that was traced in it. A function jitted once must not be called under two
    tables of rules with the same mesh: jit's cache knows the mesh, not the table.
    """
    token = _CONTEXT.set((mesh, rules))
    try:
        with jax.set_mesh(mesh):  # `with mesh:` would leave the abstract mesh empty, and constraints silently without effect
            yield
    finally:
        _CONTEXT.reset(token)


def current_context() -> tuple[Mesh, Rules] | None:
    """The mesh and rules of the innermost `context`, or None outside."""
    return _CONTEXT.get()


def current_platform() -> str:
    """The platform ("cpu", "gpu" or "tpu") of the context's mesh, which may be one that is only compiled for; outside of a
    context, of JAX's default devices."""
    opened = _CONTEXT.get()
    if opened is None:
        return jax.default_backend()
    return "gpu" if (name := opened[0].devices.flat[0].platform) in ("cuda", "rocm") else name


def on_single_cpu() -> bool:
    """Whether the program is for one CPU device, where no dimension is sharded and layouts may be chosen for the cache."""
    opened = _CONTEXT.get()
    return current_platform() == "cpu" and (opened is None or opened[0].size == 1)


def constrain(x: jax.Array, *names: str | None) -> jax.Array:
    """Fixes the sharding of an activation inside a `context`; the identity outside, or on a mesh of one device.

    Args:
        x: an array inside a jitted function.
        names: one logical name (or None) for each dimension.
    """
    opened = _CONTEXT.get()
    if opened is None or opened[0].size == 1:
        return x
    mesh, rules = opened
    return jax.lax.with_sharding_constraint(x, NamedSharding(mesh, spec_for(names, x.shape, mesh, rules)))


def spec_for(names: Sequence[str | None], shape: Sequence[int], mesh: Mesh, rules: Rules = DEFAULT_RULES) -> PartitionSpec:
    """The partition of an array whose dimensions bear logical names.

    A mesh axis that does not divide its dimension is dropped for that dimension, and so is one that an earlier dimension
    of the same array has taken.
    """
    if len(names) != len(shape):
        raise ValueError(f"{len(names)} logical names {tuple(names)} for an array of shape {tuple(shape)}")
    taken: set[str] = set()
    entries: list[str | tuple[str, ...] | None] = []
    for name, size in zip(names, shape, strict=True):
        kept: list[str] = []
        for axis in _as_tuple(None if name is None else choose("logical axis name", name, rules)):
            parts = math.prod(mesh.shape[a] for a in kept)
            if axis not in taken and mesh.shape[axis] > 1 and size % (parts * mesh.shape[axis]) == 0:
                kept.append(axis)
                taken.add(axis)
        entries.append(None if not kept else kept[0] if len(kept) == 1 else tuple(kept))
    return PartitionSpec(*entries)


def tree_shardings(boxed: Any, mesh: Mesh, rules: Rules = DEFAULT_RULES) -> Any:
    """Shardings for a tree from `jax.eval_shape(init)`: the structure of the unboxed tree, a NamedSharding at each leaf.

    Leaves without logical names are replicated.
    """

    def one(leaf: Any) -> NamedSharding:
        if not _is_box(leaf):
            return NamedSharding(mesh, PartitionSpec())
        return NamedSharding(mesh, spec_for(leaf.names, leaf.value.shape, mesh, rules))

    return jax.tree.map(one, boxed, is_leaf=_is_box)


def unsharded_report(boxed: Any, mesh: Mesh, rules: Rules = DEFAULT_RULES) -> list[str]:
    """A sentence for each parameter with a dimension that the rules would split but that the mesh axis does not divide."""
    lines = []
    for path, leaf in jax.tree_util.tree_flatten_with_path(boxed, is_leaf=_is_box)[0]:
        if not _is_box(leaf):
            continue
        for name, size in zip(leaf.names, leaf.value.shape, strict=True):
            wanted = _as_tuple(None if name is None else rules.get(name))
            parts = math.prod(mesh.shape[axis] for axis in wanted)
            if size % parts:
                where = jax.tree_util.keystr(path, simple=True, separator="/").removesuffix("/value")
                axes = ", ".join(f"{axis}={mesh.shape[axis]}" for axis in wanted)
                lines.append(f"{where}: dimension {name} of {size} does not divide over {axes}, and is not split over all of it.")
    return lines


def batch_sharding(mesh: Mesh, rules: Rules = DEFAULT_RULES, ndim: int = 1) -> NamedSharding:
    """The sharding of a batch with `ndim` dimensions, the first of which counts examples.

    Only examples are split: a process reads whole rows. The model splits positions over the sequence axis itself.
    """
    axes = tuple(axis for axis in _as_tuple(rules["activation_batch"]) if mesh.shape[axis] > 1)
    return NamedSharding(mesh, PartitionSpec(axes or None, *[None] * (ndim - 1)))


def batch_parts(mesh: Mesh, rules: Rules = DEFAULT_RULES) -> int:
    """In how many parts a batch is split; every batch and microbatch size must be a multiple of it."""
    return math.prod(mesh.shape[axis] for axis in _as_tuple(rules["activation_batch"]))


def _as_tuple(axes: str | tuple[str, ...] | None) -> tuple[str, ...]:
    return () if axes is None else (axes,) if isinstance(axes, str) else tuple(axes)


def _is_box(leaf: Any) -> bool:
    return isinstance(leaf, nn.Partitioned)
