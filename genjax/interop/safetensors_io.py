"""Folders of safetensors files, single or sharded, as one lazy mapping; and the way back.

Format: https://huggingface.co/docs/safetensors (a header of names, dtypes, shapes and offsets, then the bytes). A sharded
checkpoint has files `model-00001-of-00003.safetensors` and `model.safetensors.index.json` with `weight_map`: key -> file.
Pickles are never loaded: they run code.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import safetensors
from safetensors.numpy import save_file

from genjax.errors import CheckpointError
from genjax.interop import folders
from genjax.interop.lazy import Index, LazyArray

DTYPES = {
    "F64": np.dtype(np.float64),
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "I64": np.dtype(np.int64),
    "I32": np.dtype(np.int32),
    "I16": np.dtype(np.int16),
    "I8": np.dtype(np.int8),
    "U8": np.dtype(np.uint8),
    "BOOL": np.dtype(np.bool_),
}
MAX_SHARD_BYTES = 5 * 10**9
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")


def open_folder(path: str | Path, stem: str = "model") -> dict[str, LazyArray]:
    """Every tensor of a checkpoint by its key; nothing but headers is read yet, and the files stay memory-mapped.

    Args:
        path: a folder with `{stem}.safetensors` or `{stem}.safetensors.index.json` and its shards, or one safetensors file.
        stem: "model" for transformers, "diffusion_pytorch_model" for diffusers.

    Raises:
        CheckpointError: no such folder, no safetensors in it, a pickle in their place, a file that is truncated or corrupt, a
            missing shard, or an index that does not describe its shards.
    """
    path = Path(path)
    if path.is_file():
        return _open_file(path)
    if not path.is_dir():
        raise CheckpointError(f"there is no folder {path}.")
    if (single := path / f"{stem}.safetensors").is_file():
        return _open_file(single)
    if (index := path / f"{stem}.safetensors.index.json").is_file():
        return _open_shards(index)
    raise CheckpointError(_nothing_to_open(path, stem))


def write_files(
    folder: Path, tensors: Mapping[str, LazyArray], max_shard_bytes: int = MAX_SHARD_BYTES, stem: str = "model"
) -> list[str]:
    """Writes `{stem}.safetensors`, or shards and their index, into an existing folder; the names of the files written.

    The host holds one shard at a time. A tensor larger than `max_shard_bytes` has a shard of its own.
    """
    shards = _plan(tensors, max_shard_bytes)
    names = [f"{stem}.safetensors"]
    if len(shards) > 1:
        names = [f"{stem}-{i + 1:05d}-of-{len(shards):05d}.safetensors" for i in range(len(shards))]
    for name, keys in zip(names, shards, strict=True):
        held = {key: np.require(tensors[key].load(), requirements=["C", "A"]) for key in keys}
        try:
            save_file(held, folder / name, metadata={"format": "pt"})
        except safetensors.SafetensorError as error:
            raise OSError(str(error)) from error
    if len(shards) > 1:
        weight_map = {key: name for name, keys in zip(names, shards, strict=True) for key in keys}
        total = sum(_size(tensor) for tensor in tensors.values())
        index = f"{stem}.safetensors.index.json"
        folders.write_json(folder / index, {"metadata": {"total_size": total}, "weight_map": weight_map})
        names.append(index)
    return names


def write(
    folder: str | Path,
    tensors: Mapping[str, LazyArray],
    max_shard_bytes: int = MAX_SHARD_BYTES,
    stem: str = "model",
    overwrite: bool = False,
) -> None:
    """`write_files` into a folder that appears only when it is complete.

    Raises:
        CheckpointError: the folder holds files already and `overwrite` is False, or the disk refused.
    """
    with folders.staged(folder, overwrite, stale=weight_files(stem)) as staging:
        write_files(staging, tensors, max_shard_bytes, stem)


def weight_files(stem: str = "model") -> tuple[str, ...]:
    """Patterns of the files that hold a checkpoint's weights."""
    return (f"{stem}.safetensors", f"{stem}.safetensors.index.json", f"{stem}-*-of-*.safetensors")


def _open_file(path: Path) -> dict[str, LazyArray]:
    try:
        file = safetensors.safe_open(path, framework="numpy")
        keys = list(file.keys())
    except (safetensors.SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path} is not a complete safetensors file ({error}; it is {_length(path)} bytes long); "
            "it may be truncated or corrupt: copy or download it again."
        ) from error
    return {key: _tensor(path, file, key) for key in keys}


def _tensor(path: Path, file: Any, key: str) -> LazyArray:
    piece = file.get_slice(key)
    if piece.get_dtype() not in DTYPES:
        raise CheckpointError(
            f"{path}: {key} has the dtype {piece.get_dtype()}; readable are {', '.join(DTYPES)}. "
            "Quantized weights must be converted back to floating point first."
        )
    dtype = DTYPES[piece.get_dtype()]

    def read(index: Index) -> np.ndarray:
        shape = tuple(s.stop - s.start for s in index)
        if 0 in shape:  # safetensors has no empty slices
            return np.empty(shape, dtype)
        return file.get_slice(key)[index] if index else file.get_tensor(key)

    return LazyArray(tuple(piece.get_shape()), dtype, read)


def _open_shards(index: Path) -> dict[str, LazyArray]:
    weight_map = folders.read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map or not all(isinstance(v, str) for v in weight_map.values()):
        raise CheckpointError(f'{index} must hold "weight_map", an object from tensor names to file names.')
    files = sorted(set(weight_map.values()))
    strange = [name for name in files if Path(name).name != name]
    if strange:
        raise CheckpointError(f"{index} names files outside its folder: {', '.join(strange)}.")
    absent = [name for name in files if not (index.parent / name).is_file()]
    if absent:
        raise CheckpointError(f"{index.parent} lacks {len(absent)} of its {len(files)} shards: {', '.join(absent)}.")
    shards = {name: _open_file(index.parent / name) for name in files}
    untrue = [f"{key} (not in {name})" for key, name in weight_map.items() if key not in shards[name]]
    if untrue:
        raise CheckpointError(f"{index} does not describe its shards; it lists {', '.join(sorted(untrue))}.")
    # A tensor that the index does not list is shown too, for the table of names to judge.
    return {key: tensor for name, shard in shards.items() for key, tensor in shard.items() if weight_map.get(key, name) == name}


def _nothing_to_open(path: Path, stem: str) -> str:
    pickles = sorted(p.name for pattern in PICKLES for p in path.glob(pattern))
    if pickles:
        return (
            f"{path} holds its weights as a pickle only ({', '.join(pickles)}), which is never loaded because it can run code; "
            "convert it to safetensors (load it in transformers and call save_pretrained)."
        )
    shards = sorted(p.name for p in path.glob(f"{stem}-*-of-*.safetensors"))
    if shards:
        return f"{path} holds shards ({', '.join(shards)}) but no {stem}.safetensors.index.json that says what is in them."
    return f"{path} holds no {stem}.safetensors and no {stem}.safetensors.index.json."


def _plan(tensors: Mapping[str, LazyArray], max_shard_bytes: int) -> list[list[str]]:
    shards: list[list[str]] = [[]]
    filled = 0
    for key, tensor in tensors.items():
        if shards[-1] and filled + _size(tensor) > max_shard_bytes:
            shards.append([])
            filled = 0
        shards[-1].append(key)
        filled += _size(tensor)
    return shards


def _size(tensor: LazyArray) -> int:
    return int(np.prod(tensor.shape, dtype=np.int64)) * tensor.dtype.itemsize


def _length(path: Path) -> int | str:
    try:
        return path.stat().st_size
    except OSError:
        return "?"
