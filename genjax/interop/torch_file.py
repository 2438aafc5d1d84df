"""Tensors out of a file of torch.save, without torch and without running its pickle.

Two layouts: since torch 1.6 a zip archive (`NAME/data.pkl` beside `NAME/data/KEY`, one for each storage); before, five pickles in
a row (a magic number, a version, the machine, the value, the keys of the storages), then every storage: its length in elements
(8 bytes) and its bytes. A tensor is a view of a storage: an offset, a shape and strides, all counted in elements.
"""

import io
import math
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np

from genjax.errors import CheckpointError
from genjax.interop.pickled import read_pickle

_MAGIC = 0x1950A86A20F9469CFC6C
_VERSION = 1001
_DTYPES = {
    "Double": np.float64,
    "Float": np.float32,
    "Half": np.float16,
    "BFloat16": ml_dtypes.bfloat16,
    "Long": np.int64,
    "Int": np.int32,
    "Short": np.int16,
    "Char": np.int8,
    "Byte": np.uint8,
    "Bool": np.bool_,
}


@dataclass(frozen=True)
class _Storage:
    key: str
    dtype: np.dtype
    length: int


@dataclass(frozen=True)
class _View:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read_tensors(content: bytes, where: str, within: Sequence[str] = ()) -> dict[str, np.ndarray]:
    """Every tensor of a state dict by its key; read-only views of `content`.

    Args:
        content: the whole file.
        where: its path, for messages.
        within: keys under which the state dict may lie; where the file has some of them, the first in this order counts.

    Raises:
        CheckpointError: not a file of torch.save, cut off or damaged, or it holds anything else than a dict of tensors (what was
            found is named, and nothing of it is run).
    """
    views, read = _zip(content, where) if content.startswith(b"PK") else _legacy(content, where)
    if isinstance(views, dict):
        views = next((views[key] for key in within if key in views), views)
    if not isinstance(views, dict) or not views:
        raise CheckpointError(f"{where} holds a {type(views).__name__}, not a dict of tensors; save the model's state_dict().")
    for key, view in views.items():
        if not isinstance(key, str) or not isinstance(view, _View):
            raise CheckpointError(
                f"{where} holds a {type(view).__name__} under {str(key)[:200]!r}, where only tensors belong; save the model's "
                "state_dict()."
            )
    return {key: _tensor(view, read(view.storage), f"{where}: {key}") for key, view in views.items()}


def _zip(content: bytes, where: str) -> tuple[Any, Callable[[_Storage], np.ndarray]]:
    try:
        archive = zipfile.ZipFile(io.BytesIO(content))
        members = {info.filename: info for info in archive.infolist()}
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise CheckpointError(
            f"{where} is not a complete zip archive of torch.save ({error}; it is {len(content):,} bytes long); copy or download "
            "it again."
        ) from error
    values = [name for name in members if name == "data.pkl" or name.endswith("/data.pkl")]
    if len(values) != 1:
        raise CheckpointError(f"{where} is a zip archive with {len(values)} files data.pkl; one of torch.save has exactly 1.")
    prefix = values[0].removesuffix("data.pkl")

    def member(name: str) -> bytes:
        info = members.get(prefix + name)
        if info is None:
            raise CheckpointError(f"{where} lacks {prefix + name}; it is damaged, copy or download it again.")
        if info.compress_type != zipfile.ZIP_STORED:
            raise CheckpointError(f"{where} has {prefix + name} compressed, which torch.save never does.")
        try:
            return archive.read(info)
        except (zipfile.BadZipFile, ValueError, EOFError, NotImplementedError, RuntimeError) as error:
            raise CheckpointError(f"{where} is damaged ({error}); copy or download it again.") from error

    if f"{prefix}byteorder" in members and member("byteorder") != b"little":
        raise CheckpointError(f"{where} was written on a big-endian machine; save it again on another.")
    held: dict[str, bytes] = {}

    def read(storage: _Storage) -> np.ndarray:
        if storage.key not in held:
            held[storage.key] = member(f"data/{storage.key}")
        data = held[storage.key]
        if len(data) != storage.length * storage.dtype.itemsize:
            raise CheckpointError(
                f"{where}: {prefix}data/{storage.key} has {len(data)} bytes; {storage.length} of {storage.dtype} belong there."
            )
        return np.frombuffer(data, storage.dtype)

    return read_pickle(io.BytesIO(member("data.pkl")), where, _NAMES, _persistent), read


def _legacy(content: bytes, where: str) -> tuple[Any, Callable[[_Storage], np.ndarray]]:
    if not content.startswith(b"\x80\x02\x8a\x0a" + _MAGIC.to_bytes(10, "little")):
        raise CheckpointError(f"{where} is not a file of torch.save; it begins with {content[:8]!r}.")
    stream = io.BytesIO(content)
    storages: dict[str, _Storage] = {}

    def persistent(given: Any) -> _Storage:
        storage = _persistent(given)
        if storages.setdefault(storage.key, storage) != storage:
            raise ValueError(f"storage {storage.key[:40]!r} is described in two ways")
        return storage

    read_pickle(stream, where)
    version, machine = read_pickle(stream, where), read_pickle(stream, where)
    if version != _VERSION or not isinstance(machine, dict) or machine.get("little_endian") is not True:
        raise CheckpointError(
            f"{where} was written by another version of torch (this layout is read as version {_VERSION} of a little-endian "
            "machine has it); load it and save it again."
        )
    views = read_pickle(stream, where, _NAMES, persistent)
    keys = read_pickle(stream, where)
    if not isinstance(keys, list) or any(not isinstance(key, str) or key not in storages for key in keys):
        raise CheckpointError(f"{where} names other storages than its tensors do; it is damaged.")
    arrays = {}
    for key in keys:
        storage, start = storages[key], stream.tell() + 8
        length = int.from_bytes(content[start - 8 : start], "little")
        if length != storage.length or start + length * storage.dtype.itemsize > len(content):
            raise CheckpointError(
                f"{where} is cut off or damaged: storage {len(arrays)} of {len(keys)} has {length} elements, {storage.length} "
                f"are expected (the file is {len(content):,} bytes long); copy or download it again."
            )
        arrays[key] = np.frombuffer(content, storage.dtype, length, start)
        stream.seek(start + arrays[key].nbytes)
    if missing := storages.keys() - arrays.keys():
        raise CheckpointError(f"{where} lacks {len(missing)} of {len(storages)} storages; it is damaged.")
    return views, lambda storage: arrays[storage.key]


def _persistent(given: Any) -> _Storage:
    """From ("storage", type, key, device, length), in the older layout with None at the end."""
    kind, dtype, key, _, length, *view = given
    if kind != "storage" or not isinstance(dtype, np.dtype) or not isinstance(key, str) or view not in ([], [None]):
        raise ValueError("an object outside of the pickle that is no storage of numbers")
    return _Storage(key, dtype, _count(length))


def _rebuild(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> _View:
    if not isinstance(storage, _Storage) or not isinstance(shape, tuple) or not isinstance(strides, tuple):
        raise TypeError("a tensor without storage, shape or strides")
    return _View(storage, _count(offset), tuple(map(_count, shape)), tuple(map(_count, strides)))


def _ordered_dict(*given: Any) -> dict[str, Any]:
    if given:
        raise ValueError("an OrderedDict of pairs, where torch.save sets items")
    return {}


def _tensor(view: _View, storage: np.ndarray, where: str) -> np.ndarray:
    if len(view.shape) != len(view.strides):
        raise CheckpointError(f"{where} has {len(view.shape)} axes and {len(view.strides)} strides; the file is damaged.")
    last = view.offset + sum((size - 1) * stride for size, stride in zip(view.shape, view.strides, strict=True))
    if math.prod(view.shape) and last >= len(storage):
        raise CheckpointError(f"{where} reaches to element {last} of a storage of {len(storage)}; the file is damaged.")
    if not math.prod(view.shape):
        return np.empty(view.shape, storage.dtype)
    steps = [stride * storage.itemsize for stride in view.strides]
    return np.lib.stride_tricks.as_strided(storage[view.offset :], view.shape, steps, writeable=False)


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**62:
        raise ValueError("a length, offset or stride that is no count of elements")
    return value


_NAMES: Mapping[str, Any] = {
    "collections.OrderedDict": _ordered_dict,
    "torch._utils._rebuild_tensor_v2": _rebuild,
    **{f"torch.{name}Storage": np.dtype(dtype) for name, dtype in _DTYPES.items()},
}
