"""Hugging Face folders (config.json, safetensors, tokenizer files) of transformers and diffusers into our parameters and back."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flax.core import meta
from flax.traverse_util import flatten_dict, unflatten_dict
from jax.sharding import Sharding

from genjax.errors import CheckpointError
from genjax.interop import (
    autoencoder,
    bert,
    clip,
    distilbert,
    dit,
    folders,
    gpt2,
    lazy,
    llama,
    names,
    safetensors_io,
    siglip,
    t5,
    unet,
    unet_condition,
    vit,
    whisper,
)
from genjax.interop.family import Family
from genjax.interop.place import place

# By `model_type` or `_class_name`. Where several can express a config, the first writes it.
FAMILIES: Mapping[str, Family] = {
    family.name: family
    for family in (
        gpt2.FAMILY,
        llama.FAMILY,
        bert.FAMILY,
        distilbert.FAMILY,
        vit.FAMILY,
        *clip.FAMILIES,
        siglip.FAMILY,
        t5.FAMILY,
        whisper.FAMILY,
        unet.FAMILY,
        unet_condition.FAMILY,
        dit.FAMILY,
        *autoencoder.FAMILIES,
    )
}
CONFIG = "config.json"
DTYPES = ("float32", "bfloat16", "float16")
TOKENIZER_FILES = (
    *("*tokenizer*", "vocab.json", "merges.txt", "vocab.txt", "spiece.model", "special_tokens_map.json", "added_tokens.json"),
)


def read_config(folder: str | Path) -> tuple[str, Any]:
    """(`model_type` or `_class_name`, our config) of a folder.

    Compute dtype, layer scanning, remat and attention are ours to choose: defaults.

    Raises:
        CheckpointError: no folder, no readable config.json, a family that is not known, or settings that are not supported.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise CheckpointError(f"there is no folder {folder}.")
    path = folder / CONFIG
    values = folders.read_json(path)
    key = "_class_name" if "_class_name" in values else "model_type"
    kind = values.get(key)
    if not isinstance(kind, str) or kind not in FAMILIES:
        raise CheckpointError(f"{path} has {key} {kind!r}; genjax reads {', '.join(map(repr, FAMILIES))}.")
    return kind, FAMILIES[kind].from_json(values, str(path))


def load(
    folder: str | Path,
    shardings: Any = None,
    dtype: str | None = None,
    scan_layers: bool | None = None,
    config: Any = None,
) -> dict[str, Any]:
    """Reads a folder's parameters onto the devices, slice by slice: `GPT(config).apply({"params": result}, tokens)`, or another
    model of the config's type.

    The host never holds more than one device's slice of one parameter. In a job of several processes each reads what its own
    devices need.

    Args:
        folder: with config.json and safetensors, single or sharded.
        shardings: a tree of shardings with the structure of the result, one sharding for everything, or None for the default
            device.
        dtype: of the parameters, one of `DTYPES`; None keeps that of the file.
        scan_layers: whether layers are stacked along a leading axis; None takes it from `config`.
        config: what the folder must fit, in meaning (heads, positions, norms) and in shapes; None reads it from the folder. Its
            vocabulary may be larger (sentinels, padding): the new tokens begin as the mean of the old ones (Hewitt, 2021).

    Raises:
        CheckpointError: the folder cannot be read, or its tensors do not fit the config (every one that does not is listed).
    """
    _check_dtype(dtype)
    kind, found = read_config(folder)
    family = FAMILIES[kind]
    config = found if config is None else config
    if not isinstance(config, family.config_type):
        raise CheckpointError(
            f"{folder} holds a {kind}, which {family.config_type.__name__} describes, but a {type(config).__name__} was given."
        )
    if phrases := family.disagreements(found, config):
        raise CheckpointError(f"{folder} is another model: {', '.join(phrases)}.")
    if scan_layers is not None:
        config = _replaced(config, "scan_layers", scan_layers)
    shapes = family.shapes(config)
    tensors = safetensors_io.open_folder(folder, family.stem)
    theirs = family.shapes(_with_vocabulary_of(config, found))
    arrays = names.to_ours(family.table(config), tensors, theirs, str(folder))
    for path, array in arrays.items():
        for axis, size in enumerate(shapes[path]):
            if size > array.shape[axis]:
                arrays[path] = lazy.grow(array, axis, size)
    targets = _targets(shardings, shapes)
    return unflatten_dict({path: place(array, targets[path], dtype) for path, array in arrays.items()}, sep="/")


def save(
    folder: str | Path,
    params: Mapping[str, Any],
    config: Any,
    tokenizer: Any = None,
    *,
    dtype: str | None = None,
    max_shard_bytes: int = safetensors_io.MAX_SHARD_BYTES,
    overwrite: bool = False,
    values: Mapping[str, Any] | None = None,
    files: Mapping[str, Any] | None = None,
) -> None:
    """Writes a folder that transformers (or diffusers) and `load` read.

    Args:
        folder: new; it appears only when it is complete.
        params: the parameters, layers stacked or not, on one device or many of this process.
        config: what they are parameters of; it decides the family.
        tokenizer: with `save(folder)`, `bos_id`, `eos_id` and, where it pads, `pad_id`; None writes none.
        dtype: of the file, one of `DTYPES`; None keeps that of the parameters.
        max_shard_bytes: larger models become several files; the host holds one of them at a time.
        overwrite: replace the weights, config and (if given) tokenizer of an existing folder; other files there stay.
        values: keys of config.json that say what the network does not know, such as the names of its classes.
        files: JSON files beside it: name -> content.

    Raises:
        CheckpointError: no family can express the config, the parameters do not fit it, or the folder cannot be written.
    """
    family = family_of(config)
    _check_dtype(dtype)
    arrays = {path: lazy.of_array(leaf) for path, leaf in flatten_dict(meta.unbox(dict(params)), sep="/").items()}
    shapes = family.shapes(_replaced(config, "scan_layers", any("blocks" in path.split("/") for path in arrays)))
    tensors = names.to_theirs(family.table(config), arrays, shapes)
    if dtype is not None:
        tensors = {key: lazy.cast(tensor, dtype) for key, tensor in tensors.items()}
    stale = safetensors_io.weight_files(family.stem) + (TOKENIZER_FILES if tokenizer is not None else ())
    with folders.staged(folder, overwrite, stale) as staging:
        folders.write_json(staging / CONFIG, _config_json(family, config, tokenizer, tensors) | dict(values or {}))
        for name, content in (files or {}).items():
            folders.write_json(staging / name, content)
        if tokenizer is not None:
            tokenizer.save(staging)
        safetensors_io.write_files(staging, tensors, max_shard_bytes, family.stem)


def family_of(config: Any) -> Family:
    """The family that can express a config, among those of its type.

    Raises:
        CheckpointError: none can; says for each what stands in the way.
    """
    reasons = []
    for family in (family for family in FAMILIES.values() if isinstance(config, family.config_type)):
        phrases = family.misfits(config)
        if not phrases:
            return family
        reasons.append(f"{family.name}: {', '.join(phrases)}")
    if not reasons:
        known = dict.fromkeys(family.config_type.__name__ for family in FAMILIES.values())
        raise CheckpointError(f"no Hugging Face family has models of {type(config).__name__}; known: {', '.join(known)}.")
    raise CheckpointError("no Hugging Face family has this model. " + ". ".join(reasons) + ".")


def _check_dtype(dtype: str | None) -> None:
    if dtype is not None and dtype not in DTYPES:
        raise CheckpointError(f"dtype {dtype!r} is not one that parameters can have: {', '.join(DTYPES)}.")


def _targets(shardings: Any, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Sharding | None]:
    if shardings is None or isinstance(shardings, Sharding):
        return dict.fromkeys(shapes, shardings)
    targets = flatten_dict(dict(shardings), sep="/")
    if targets.keys() != shapes.keys():
        odd = sorted(targets.keys() ^ shapes.keys())
        raise CheckpointError(f"the shardings are not those of the parameters: {', '.join(odd)} are in one tree only.")
    return targets


def _replaced(config: Any, name: str, value: Any) -> Any:
    """The config with every field `name` set, also in the configs within it."""
    inner = {f.name: v for f in dataclasses.fields(config) if dataclasses.is_dataclass(v := getattr(config, f.name))}
    changes = {field: _replaced(section, name, value) for field, section in inner.items()}
    return dataclasses.replace(config, **changes, **({name: value} if hasattr(config, name) else {}))


def _with_vocabulary_of(config: Any, found: Any) -> Any:
    """The config with the vocabularies of a checkpoint where these are smaller."""
    inner = {f.name: v for f in dataclasses.fields(config) if dataclasses.is_dataclass(v := getattr(config, f.name))}
    changes = {field: _with_vocabulary_of(section, getattr(found, field)) for field, section in inner.items()}
    if hasattr(config, "vocab_size"):
        changes["vocab_size"] = min(config.vocab_size, found.vocab_size)
    return dataclasses.replace(config, **changes)


def _config_json(family: Family, config: Any, tokenizer: Any, tensors: Mapping[str, lazy.LazyArray]) -> dict[str, Any]:
    if family.library == "diffusers":
        return {"_class_name": family.name, **family.to_json(config)}
    dtypes = sorted({str(tensor.dtype) for tensor in tensors.values()})
    pad = {} if getattr(tokenizer, "pad_id", None) is None else {"pad_token_id": tokenizer.pad_id}
    return {
        "model_type": family.name,
        "architectures": [family.architecture],
        "torch_dtype": dtypes[0] if len(dtypes) == 1 else "float32",
        "bos_token_id": getattr(tokenizer, "bos_id", None),
        "eos_token_id": getattr(tokenizer, "eos_id", None),
        **pad,
        **family.to_json(config),
    }
