"""The table of leaves that a checkpoint carries beside its arrays: what it holds, and the checksums that prove it.

A manifest is JSON: `{"leaves": {path: {"shape", "dtype", "checksum"[, "key"]}}, "meta": CRC-32 of the caller's JSON, "self":
CRC-32 of the rest}`. With it, a checkpoint of another model is told from a damaged one before an array is read. Typed PRNG
keys are stored as their uint32 data and named by their implementation.
"""

import json
import math
import zlib
from collections.abc import Mapping
from typing import Any

import jax

from genjax.storage.checksums import checksum

Manifest = Mapping[str, Any]


def is_key(leaf: Any) -> bool:
    """Whether a leaf (array or ShapeDtypeStruct) is a typed PRNG key array."""
    return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def unwrap_keys(state: Any) -> Any:
    """`state` with the uint32 data of every PRNG key in its place."""
    return jax.tree.map(lambda leaf: jax.random.key_data(leaf) if is_key(leaf) else leaf, state)


def unwrap_abstract_keys(abstract: Any) -> Any:
    """The same for ShapeDtypeStructs; a leaf without a sharding is placed on the first device."""

    def one(leaf):
        shape = jax.eval_shape(jax.random.key_data, jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)) if is_key(leaf) else leaf
        sharding = getattr(leaf, "sharding", None) or jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        return jax.ShapeDtypeStruct(shape.shape, shape.dtype, sharding=sharding)

    return jax.tree.map(one, abstract)


def wrap_keys(data: Any, abstract: Any, manifest: Manifest) -> Any:
    """PRNG keys from their data, wherever `abstract` has one."""

    def one(path, leaf, wanted):
        if not is_key(wanted):
            return leaf
        wrap = jax.jit(jax.random.wrap_key_data, static_argnames="impl", out_shardings=getattr(wanted, "sharding", None))
        return wrap(leaf, impl=manifest["leaves"][_name(path)]["key"])

    return jax.tree_util.tree_map_with_path(one, data, abstract)


def describe(state: Any, meta: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest of `state` and of `meta`. Reads every array once on its devices and waits for them."""
    sums = _checksums(unwrap_keys(state))
    leaves = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        entry = {"shape": list(leaf.shape), "dtype": str(leaf.dtype), "checksum": sums[_name(path)]}
        leaves[_name(path)] = entry | ({"key": str(jax.random.key_impl(leaf))} if is_key(leaf) else {})
    manifest = {"leaves": leaves, "meta": _json_checksum(meta)}
    return manifest | {"self": _json_checksum(manifest)}


def check_json(manifest: Manifest, meta: Mapping[str, Any]) -> None:
    """Raises ValueError where the manifest or the caller's JSON is not what was written."""
    own = {name: value for name, value in manifest.items() if name != "self"}
    if _json_checksum(own) != manifest.get("self"):
        raise ValueError("the checksum of manifest does not match")
    if _json_checksum(meta) != manifest["meta"]:
        raise ValueError("the checksum of meta does not match")


def mismatches(manifest: Manifest, abstract: Any) -> list[str]:
    """One line for each leaf that the checkpoint and the model do not share, or hold in another shape or type."""
    saved = {name: _signature(entry["shape"], entry["dtype"]) for name, entry in manifest["leaves"].items()}
    leaves = jax.tree_util.tree_leaves_with_path(abstract)
    wanted = {_name(path): _signature(leaf.shape, str(leaf.dtype)) for path, leaf in leaves}
    lines = []
    for name in sorted(saved.keys() | wanted.keys()):
        if name not in wanted:
            lines.append(f"{name}: {saved[name]} in the checkpoint, absent from the model")
        elif name not in saved:
            lines.append(f"{name}: absent from the checkpoint, {wanted[name]} in the model")
        elif saved[name] != wanted[name]:
            lines.append(f"{name}: {saved[name]} in the checkpoint, {wanted[name]} in the model")
    return lines


def damaged_leaves(manifest: Manifest, data: Any) -> list[str]:
    """Paths of the leaves of `data` (keys unwrapped) whose bits are not those that were saved."""
    return [name for name, value in _checksums(data).items() if value != manifest["leaves"][name]["checksum"]]


def total_bytes(state: Any) -> int:
    """Bytes of the arrays (or ShapeDtypeStructs), each counted once however often it is replicated."""
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))


def _json_checksum(content: Mapping[str, Any]) -> int:
    return zlib.crc32(json.dumps(content).encode())


def _checksums(data: Any) -> dict[str, int]:
    named = {_name(path): checksum(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(data)}
    return {name: int(value) for name, value in jax.device_get(named).items()}


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")


def _signature(shape: Any, dtype: str) -> str:
    return f"{dtype}[{','.join(map(str, shape))}]"
