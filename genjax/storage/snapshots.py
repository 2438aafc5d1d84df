"""Power-function averages that a run left along its way, one file for each step and width: RUN/ema/.

A file is safetensors: the averaged leaves by their paths in the variables, float16 where they fit. Its one metadata entry,
"about", is JSON: step, relative width, and a CRC-32 of each leaf. The same run writes the same bytes.
"""

import contextlib
import json
import os
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors
from jaxtyping import Float
from safetensors.numpy import save_file

from genjax.errors import CheckpointError
from genjax.storage.power_averages import combination

FOLDER = "ema"  # of a run directory
NAME = re.compile(r"step_(\d+)_std_([0-9.e-]+)\.safetensors")
NEGLIGIBLE = 1e-9  # a factor whose file need not be read


@dataclass(frozen=True)
class Snapshot:
    """One stored average."""

    step: int
    std: float
    file: Path


def write_snapshot(folder: Path, step: int, std: float, leaves: Mapping[str, np.ndarray], dtype: str = "float16") -> None:
    """Writes one average; a file of that step and width is replaced, and there is never half of one.

    Args:
        leaves: by path; those that float16 cannot hold are written in float32.

    Raises:
        OSError: the folder cannot be written.
    """
    folder.mkdir(exist_ok=True)
    held = {name: np.require(_narrowed(leaves[name], dtype), requirements=["C"]) for name in sorted(leaves)}
    about = {"step": step, "std": float(std), "crc32": {name: zlib.crc32(leaf.tobytes()) for name, leaf in held.items()}}
    file = folder / f"step_{step:08d}_std_{float(std)}.safetensors"
    temporary = file.with_suffix(f".{os.getpid()}.tmp")
    try:
        save_file(held, temporary, metadata={"about": json.dumps(about)})
        os.replace(temporary, file)
    except safetensors.SafetensorError as error:
        raise OSError(str(error)) from error
    finally:
        temporary.unlink(missing_ok=True)


def find_snapshots(folder: Path) -> tuple[Snapshot, ...]:
    """All that are there, by step and width."""
    files = folder.iterdir() if folder.is_dir() else ()
    named = ((NAME.fullmatch(file.name), file) for file in files)
    found = (Snapshot(int(name[1]), float(name[2]), file) for name, file in named if name)
    return tuple(sorted(found, key=lambda snapshot: (snapshot.step, snapshot.std)))


def remove_later(folder: Path, step: int) -> None:
    """Removes snapshots of later steps: a run that goes back to `step` writes them again."""
    for snapshot in find_snapshots(folder):
        if snapshot.step > step:
            with contextlib.suppress(FileNotFoundError):
                snapshot.file.unlink()


def reconstruct(snapshots: Sequence[Snapshot], step: int, std: float) -> tuple[dict[str, Float[np.ndarray, "..."]], float]:
    """The average of relative width `std` at `step`, in float32, from the snapshots up to there.

    Returns:
        The leaves by path, and how far their weights are from the wanted ones, see `combination`.

    Raises:
        CheckpointError: a file that is damaged or holds other leaves.
    """
    used = [snapshot for snapshot in snapshots if snapshot.step <= step]
    factors, error = combination(np.array([s.step for s in used]), np.array([s.std for s in used]), step, std)
    total: dict[str, np.ndarray] = {}
    for snapshot, factor in zip(used, factors, strict=True):
        if abs(factor) < NEGLIGIBLE:
            continue
        leaves = _read(snapshot.file)
        if total and leaves.keys() != total.keys():
            raise CheckpointError(f"{snapshot.file} does not hold the same leaves as the snapshots before it; remove it.")
        for name, leaf in leaves.items():
            total[name] = total.get(name, np.float32(0)) + np.float32(factor) * leaf.astype(np.float32)
    return total, error


def _narrowed(leaf: np.ndarray, dtype: str) -> np.ndarray:
    fits = dtype == "float16" and (not leaf.size or np.abs(leaf).max() <= np.finfo(np.float16).max)
    return leaf.astype(np.float16 if fits else np.float32)


def _read(file: Path) -> dict[str, np.ndarray]:
    try:
        with safetensors.safe_open(file, framework="numpy") as stored:
            leaves = {name: stored.get_tensor(name) for name in stored.keys()}
            sums = json.loads(stored.metadata()["about"])["crc32"]
        wrong = [name for name, leaf in leaves.items() if zlib.crc32(leaf.tobytes()) != sums[name]]
    except (safetensors.SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"the snapshot {file} is damaged ({error}); remove it, and the others make the average.") from error
    if wrong:
        raise CheckpointError(f"the snapshot {file} is damaged (the checksum of {wrong[0]} does not match); remove it.")
    return leaves
