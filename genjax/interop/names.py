"""A table of names for each family, read in both directions.

A row ties one of their keys to one or more of our parameter paths. `{layer}` in a row runs over the layers; whether our side
keeps the layers apart (`blocks_3/...`) or stacked along a leading axis (`blocks/...`, a scanned model) is seen from our tree.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from genjax.errors import CheckpointError
from genjax.interop import lazy
from genjax.interop.lazy import LazyArray
from genjax.interop.transforms import Identity, Transform


@dataclass(frozen=True)
class Row:
    """One of their tensors and where it goes.

    Several rows, or several layers of a row, may name the same parameter of ours: their tensors must then be equal.

    Attributes:
        theirs: key in the checkpoint, for example "transformer.h.{layer}.attn.c_attn.weight".
        ours: paths of our parameters, for example ("blocks_{layer}/attention/query/kernel", ...).
        transform: from their layout to ours; yields as many arrays as there are paths.
        layers: how far `{layer}` runs; 0 where there is none.
    """

    theirs: str
    ours: tuple[str, ...]
    transform: Transform = field(default_factory=Identity)
    layers: int = 0


@dataclass(frozen=True)
class Table:
    """The rows of a family, and what its checkpoints may hold beside them.

    Attributes:
        rows: one for each of their tensors.
        ignored: patterns (regular expressions over whole keys) of tensors that are no parameters: masks, inverse frequencies.
        copies: (copy, original, setting): a tied tensor under a second key. It may be there or not, must equal the original, and
            stands in for it where only the copy was saved. `setting` is the key of config.json that says that they are tied.
        renames: (pattern, replacement) applied to found keys in turn: old names, missing prefixes.
    """

    rows: tuple[Row, ...]
    ignored: tuple[str, ...] = ()
    copies: tuple[tuple[str, str, str], ...] = ()
    renames: tuple[tuple[str, str], ...] = ()


def to_ours(
    table: Table, tensors: Mapping[str, LazyArray], shapes: Mapping[str, tuple[int, ...]], where: str
) -> dict[str, LazyArray]:
    """Our parameters as lazy arrays over the tensors of a checkpoint.

    Args:
        table: the family's names.
        tensors: what the checkpoint holds.
        shapes: path -> shape of every parameter of ours; its layout (stacked or not) is the layout of the result.
        where: the checkpoint, for the message.

    Raises:
        CheckpointError: one message that lists every tensor that is missing, left over, mis-shaped, untied or unlike another that
            is the same parameter of ours.
    """
    problems: list[str] = []
    found = _renamed(table, tensors, problems)
    layers: dict[_Home, LazyArray] = {}
    keys: dict[_Home, str] = {}
    for theirs, homes, transform in _expand(table, shapes):
        expected = transform.to_theirs(tuple(lazy.shape_only(home.shape) for home in homes))[0].shape
        key, tensor = found.pop(theirs, (theirs, None))
        if tensor is None:
            problems.append(f"missing: {theirs}, expected {expected}")
        elif tensor.shape != expected:
            problems.append(f"wrong shape: {key} is {tensor.shape}, expected {expected}")
        else:
            for home, array in zip(homes, transform.to_ours((tensor,)), strict=True):
                if home in layers and not lazy.equal(array, layers[home]):
                    problems.append(f"not equal: {key} differs from {keys[home]}, and both are {home.path} here")
                layers[home] = array
                keys.setdefault(home, key)
    problems += [f"left over: {key} {tensor.shape}, which this model has no place for" for key, tensor in found.values()]
    if problems:
        raise CheckpointError(
            f"{where} does not fit the model that its config describes ({len(problems)} tensors):\n  " + "\n  ".join(problems)
        )
    return _together(layers, shapes)


def to_theirs(table: Table, arrays: Mapping[str, LazyArray], shapes: Mapping[str, tuple[int, ...]]) -> dict[str, LazyArray]:
    """The tensors of a checkpoint as lazy arrays over our parameters.

    Args:
        table: the family's names.
        arrays: path -> parameter, layers stacked or not.
        shapes: path -> shape of every parameter that the config describes, in the same layout.

    Raises:
        CheckpointError: one message that lists every parameter that is missing, left over or mis-shaped.
    """
    problems = [f"missing: {path}, expected {shapes[path]}" for path in shapes if path not in arrays]
    problems += [f"left over: {path} {arrays[path].shape}" for path in arrays if path not in shapes]
    problems += [
        f"wrong shape: {path} is {array.shape}, expected {shapes[path]}"
        for path, array in arrays.items()
        if path in shapes and array.shape != tuple(shapes[path])
    ]
    if problems:
        raise CheckpointError(f"the parameters do not fit their config ({len(problems)} parameters):\n  " + "\n  ".join(problems))
    tensors = {}
    for theirs, homes, transform in _expand(table, shapes):
        pieces = tuple(arrays[h.path] if h.layer is None else lazy.take(arrays[h.path], h.layer) for h in homes)
        (tensors[theirs],) = transform.to_theirs(pieces)
    return tensors


@dataclass(frozen=True)
class _Home:
    """Where one layer's parameter lives in our tree: a path, and a position where that path is a stack of layers."""

    path: str
    layer: int | None
    shape: tuple[int, ...]


def _expand(table: Table, shapes: Mapping[str, tuple[int, ...]]) -> Iterator[tuple[str, tuple[_Home, ...], Transform]]:
    """Every row once for each layer. A table that does not cover the model, or the reverse, is a defect of the table."""
    used = set()
    for row in table.rows:
        for layer in range(row.layers or 1):
            homes = tuple(_home(path, layer, shapes) for path in row.ours)
            used.update(home.path for home in homes)
            yield row.theirs.format(layer=layer), homes, row.transform
    if unnamed := sorted(shapes.keys() - used):
        raise KeyError(f"the table of names lacks the model's {', '.join(unnamed)}")


def _home(template: str, layer: int, shapes: Mapping[str, tuple[int, ...]]) -> _Home:
    path, stacked = template.format(layer=layer), template.replace("_{layer}", "")
    if path in shapes:
        return _Home(path, None, tuple(shapes[path]))
    if stacked in shapes:
        return _Home(stacked, layer, tuple(shapes[stacked][1:]))
    raise KeyError(f"the table of names has {path}, but the model has no such parameter")


def _together(layers: Mapping[_Home, LazyArray], shapes: Mapping[str, tuple[int, ...]]) -> dict[str, LazyArray]:
    """Path -> array in our tree's layout: layers that it keeps in one array are stacked."""
    groups: dict[str, dict[int | None, LazyArray]] = {}
    for home, array in layers.items():
        groups.setdefault(home.path, {})[home.layer] = array
    return {
        path: groups[path][None] if None in groups[path] else lazy.stack([a for _, a in sorted(groups[path].items())])
        for path in shapes
    }


def _renamed(table: Table, tensors: Mapping[str, LazyArray], problems: list[str]) -> dict[str, tuple[str, LazyArray]]:
    """Canonical key -> (key as found, tensor), without what is ignored and without tied copies."""
    found: dict[str, tuple[str, LazyArray]] = {}
    for key, tensor in tensors.items():
        name = key
        for pattern, replacement in table.renames:
            name = re.sub(pattern, replacement, name)
        if any(re.fullmatch(pattern, name) for pattern in table.ignored):
            continue
        if name in found:
            problems.append(f"twice: {found[name][0]} and {key} are both {name}")
        found[name] = (key, tensor)
    for copy, original, setting in table.copies:
        if copy not in found:
            continue
        key, tensor = found.pop(copy)
        if original not in found:
            found[original] = (key, tensor)
        elif not lazy.equal(tensor, found[original][1]):
            problems.append(f"not tied: {key} differs from {found[original][0]}, although {setting} is true")
    return found
