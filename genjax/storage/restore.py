"""The variables of a checkpoint, without the optimizer's memory, onto any mesh.

Reads what `genjax.training.checkpoints` writes: `<step>/state` (Orbax; a tree with `variables` and, by name, `ema`) and
`<step>/manifest` (JSON; shape, dtype and checksum of every leaf, which is compared).
"""

import gc
import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from etils import epath
from flax import traverse_util

from genjax.errors import CheckpointError
from genjax.storage import manifest as manifests
from genjax.storage.quiet import QuietOrbax

MAX_LISTED = 40  # differing leaves in a message


def restore_variables(
    directory: Path | str,
    abstract: Mapping[str, Any],
    *,
    step: int | None = None,
    ema: str = "",
    report: Callable[[str], None] | None = None,
) -> tuple[dict[str, Any], int]:
    """Reads variables, averaged ones in place of raw ones where the checkpoint has them.

    Args:
        directory: `RUN/checkpoints`.
        abstract: the unboxed variables as ShapeDtypeStructs; `sharding` says where a leaf goes (None: the first device).
        step: exactly this one; None: the newest that can be read, after a warning for each that cannot.
        ema: the name of the average that takes the place of raw variables, such as "0.999"; "": none.
        report: receives a warning as one line; by default the logger "genjax".

    Returns:
        `(variables, step)`.

    Raises:
        CheckpointError: there is none; it is of another model (all differing leaves are listed); none can be read.
    """
    directory = Path(directory).absolute()
    report = report or logging.getLogger("genjax").warning
    steps = checkpoint_steps(directory)
    if not steps or (step is not None and step not in steps):
        which = "no checkpoint" if step is None else f"no checkpoint of step {step}"
        raise CheckpointError(f"there is {which} in {directory}; there are: {', '.join(map(str, steps)) or 'none'}.")
    reasons = []
    quiet = QuietOrbax()
    for candidate in [step] if step is not None else reversed(steps):
        quiet.start()
        try:
            variables = _read(directory / str(candidate), abstract, ema)
        except CheckpointError:
            quiet.stop()
            raise
        except Exception as error:  # Orbax and TensorStore raise many types for a damaged file
            gc.collect()  # the reads that were given up complain when they are freed; some only later, so it stays quiet
            reasons.append(f"checkpoint {candidate} is damaged ({_first_line(error)})")
            continue
        quiet.stop()
        for reason in reasons:
            report(f"{reason}; using step {candidate}.")
        return variables, candidate
    others = ", ".join(str(s) for s in steps if s != step)
    rest = f"; other steps: {others or 'none'}" if step is not None else "; there is no other"
    raise CheckpointError(f"nothing can be read from {directory}: {'; '.join(reasons)}{rest}.")


def variables_digest(directory: Path | str, step: int, ema: str = "") -> str:
    """Twelve hex digits of the variables that `restore_variables` of these arguments reads, from the checkpoint's manifest alone.

    Raises:
        CheckpointError: a manifest that cannot be read.
    """
    file = Path(directory) / str(step) / "manifest" / "metadata"
    try:
        saved = json.loads(file.read_text())["leaves"]
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"{file}, which says what the checkpoint holds, cannot be read: {error}.") from error
    chosen = {name: saved.get(f"ema/{ema}/{name}", saved[f"variables/{name}"]) for name in _variables(saved)}
    return hashlib.sha256(json.dumps(chosen, sort_keys=True).encode()).hexdigest()[:12]


def checkpoint_steps(directory: Path) -> list[int]:
    """Steps whose save has finished, in order."""
    names = [path.name for path in directory.iterdir()] if directory.is_dir() else []
    return sorted(int(name) for name in names if name.isdecimal())


def _read(folder: Path, abstract: Mapping[str, Any], ema: str) -> dict[str, Any]:
    manifest = json.loads((folder / "manifest" / "metadata").read_text())
    saved = manifest["leaves"]
    wanted = traverse_util.flatten_dict(abstract, sep="/")
    averaged = f"ema/{ema}/" if ema else None
    places = {name: averaged + name if averaged and averaged + name in saved else f"variables/{name}" for name in wanted}
    _check(folder, saved, wanted, places)
    targets = {places[name]: _placed(leaf, saved[places[name]]["dtype"]) for name, leaf in wanted.items()}
    # A decay holds a dot and a path its separators: unflatten by "/", which no name contains.
    item = traverse_util.unflatten_dict(targets, sep="/")
    arguments = jax.tree.map(
        lambda leaf: ocp.ArrayRestoreArgs(sharding=leaf.sharding, global_shape=leaf.shape, dtype=leaf.dtype), item
    )
    request = ocp.args.PyTreeRestore(item=item, restore_args=arguments, partial_restore=True)
    restored = ocp.PyTreeCheckpointHandler().restore(epath.Path(folder) / "state", args=request)
    wrong = manifests.damaged_leaves(manifest, restored)
    if wrong:
        others = f", nor of {len(wrong) - 1} others" if wrong[1:] else ""
        raise ValueError(f"the checksum of {wrong[0]} does not match{others}")
    found = traverse_util.flatten_dict(restored, sep="/")
    cast = {name: found.pop(places[name]).astype(leaf.dtype) for name, leaf in wanted.items()}
    return traverse_util.unflatten_dict(cast, sep="/")


def _check(folder: Path, saved: Mapping[str, Any], wanted: Mapping[str, Any], places: Mapping[str, str]) -> None:
    """Raises CheckpointError that lists every variable that the checkpoint and the model do not share in name and shape."""
    lines = [f"{name}: in the checkpoint only" for name in _variables(saved) if name not in wanted]
    for name, leaf in wanted.items():
        if places[name] not in saved:
            lines.append(f"{name}: in the model only")
        elif tuple(saved[places[name]]["shape"]) != tuple(leaf.shape):
            lines.append(f"{name}: {tuple(saved[places[name]]['shape'])} in the checkpoint, {tuple(leaf.shape)} in the model")
    if lines:
        more = [f"... and {len(lines) - MAX_LISTED} more"] if len(lines) > MAX_LISTED else []
        listed = "\n  ".join(sorted(lines)[:MAX_LISTED] + more)
        raise CheckpointError(f"{folder} is of another model than the config says; {len(lines)} leaves differ:\n  {listed}")


def _variables(saved: Mapping[str, Any]) -> list[str]:
    return [name.removeprefix("variables/") for name in saved if name.startswith("variables/")]


def _placed(leaf: Any, dtype: str) -> jax.ShapeDtypeStruct:
    """Where a leaf goes, in the type that it was saved in: its checksum is of those bits."""
    sharding = getattr(leaf, "sharding", None) or jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    return jax.ShapeDtypeStruct(leaf.shape, dtype, sharding=sharding)


def _first_line(error: Exception, limit: int = 160) -> str:
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    return line if len(line) <= limit else line[: limit - 3] + "..."
