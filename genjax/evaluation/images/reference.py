"""Features of real images kept in a folder, because they are the same for every run that is measured against them."""

import hashlib
import json
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import safetensors
from jax.experimental import multihost_utils
from safetensors.numpy import load_file, save_file

from genjax.evaluation.images.collection import Collection
from genjax.evaluation.images.statistics import Statistics
from genjax.parallel import processes
from genjax.storage.folder_cache import made_once

log = logging.getLogger(__name__)
FORMAT = 1
META, TENSORS = "meta.json", "features.safetensors"
_STATISTICS = ("pool", "spatial")
_RADII = "radii."


def cached_reference(
    cache_dir: Path | str, network: str, fingerprint: str, make: Callable[[], Collection], setting: str = "data.cache_dir"
) -> Collection:
    """The features of a data set as they lie in the cache, or what `make()` gives, which is put there.

    A damaged folder (its hash is kept beside) is made again. In a job of several processes all of them call, and all of them make
    if one finds nothing: a network over their devices needs them together.

    Args:
        network: its name.
        fingerprint: of the data and of everything else that `make` depends on: which images, how they are cut, how many.
        setting: what says where the cache lies, for messages.

    Raises:
        DataError: the folder cannot be written, or not be read back.
    """
    key = hashlib.sha256(json.dumps([FORMAT, network, fingerprint]).encode()).hexdigest()[:16]
    folder = Path(cache_dir) / f"features-{key}"
    found = _open(folder, network)
    if _everywhere(found is not None):
        return found
    made = make()
    try:
        if processes.is_main():
            what = "the cache of reference features"
            made_once(folder, lambda path: _open(path, network), lambda path: _write(path, made), what, setting)
    finally:
        processes.barrier(f"reference features {key}")
    return made


def _write(folder: Path, made: Collection) -> None:
    tensors = {"features": made.features} | ({} if made.logits is None else {"logits": made.logits})
    for name in _STATISTICS:
        if (part := getattr(made, name)) is not None:
            tensors |= {f"{name}.mean": part.mean, f"{name}.scatter": part.scatter}
    tensors |= {f"{_RADII}{k}": radii for k, radii in made.known.items()}
    try:
        save_file({key: np.ascontiguousarray(array) for key, array in tensors.items()}, folder / TENSORS)
    except safetensors.SafetensorError as error:
        raise OSError(str(error)) from error
    meta = {"network": made.network, "count": made.count, "sha256": _sha256(folder / TENSORS)}
    (folder / META).write_text(json.dumps(meta, indent=1), encoding="utf-8")


def _open(folder: Path, network: str) -> Collection | None:
    if not folder.is_dir():
        return None
    try:
        meta = json.loads((folder / META).read_text(encoding="utf-8"))
        if meta["network"] != network or meta["sha256"] != _sha256(folder / TENSORS):
            raise ValueError("its parts do not fit together")
        tensors = load_file(folder / TENSORS)
        parts = {
            name: Statistics(meta["count"], tensors[f"{name}.mean"], tensors[f"{name}.scatter"])
            for name in _STATISTICS
            if f"{name}.mean" in tensors
        }
        known = {int(name.removeprefix(_RADII)): value for name, value in tensors.items() if name.startswith(_RADII)}
        return Collection(network, parts["pool"], parts.get("spatial"), tensors["features"], tensors.get("logits"), known)
    except (OSError, ValueError, KeyError, TypeError, safetensors.SafetensorError) as error:
        log.warning("the reference features in %s are damaged (%s) and are made again", folder, error)
        return None


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _everywhere(yes: bool) -> bool:
    return bool(np.min(multihost_utils.process_allgather(np.int32(yes))))
