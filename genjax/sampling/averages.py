"""Which average of its variables a run is sampled with: one that it keeps, or one made afterwards of its snapshots."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import traverse_util

from genjax.errors import CheckpointError
from genjax.storage.power_averages import WIDEST, power_name
from genjax.storage.restore import checkpoint_steps, restore_variables
from genjax.storage.snapshots import FOLDER, find_snapshots, reconstruct
from genjax.tasks.contract import Variables

ROUGH = 0.05  # weights that are further from the wanted ones are worth a word


def choose_average(
    run: Path, section: Mapping[str, Any], ema: float | None, ema_std: float | None, step: int | None
) -> str | None:
    """The name, in checkpoints, of the average that is asked for; "" for the raw variables.

    Args:
        run: its directory.
        section: `ema` of its config.
        ema, ema_std: see `genjax.sampling.run.open_run`.
        step: of the checkpoint or snapshot; None: the newest.

    Returns:
        None where snapshots must make it.

    Raises:
        CheckpointError: there is no such average, with what the run has.
    """
    decays, stds = ([float(value) for value in section.get(key, ())] for key in ("decays", "stds"))
    kept = f"it keeps averages of the decays {_listed(decays)} and of the relative widths {_listed(stds)}"
    if ema_std is None:
        if ema is None:
            return next(iter((*map(str, decays), *map(power_name, stds))), "")
        if ema and ema not in decays:
            raise CheckpointError(
                f"the run {run} has no average of decay {ema}: {kept}. A decay of 0 stands for the raw weights."
            )
        return str(ema) if ema else ""
    if not 0 < ema_std <= WIDEST:
        raise CheckpointError(f"no average has the relative width {ema_std}; it is above 0 and at most {WIDEST:.4f}.")
    if ema_std in stds and (step is None or step in checkpoint_steps(run / "checkpoints")):
        return power_name(ema_std)
    if not find_snapshots(run / FOLDER):
        raise CheckpointError(
            f"the run {run} has no snapshots, of which an average of relative width {ema_std} could be made: {kept}. Runs save "
            "snapshots with ema.stds and ema.snapshot_every."
        )
    return None


def averaged_afterwards(
    run: Path, abstract: Mapping[str, Any], std: float, step: int | None, *, report: Callable[[str], None] | None
) -> Variables:
    """The variables of a run with the average of relative width `std` that its snapshots make.

    What is not averaged comes from the checkpoint of the same step, or else from the newest.

    Args:
        run: its directory, with snapshots.
        abstract: the variables as ShapeDtypeStructs; `sharding` says where a leaf goes.
        step: one that has snapshots; None: the last.

    Raises:
        CheckpointError: no snapshots of that step, or of another model.
    """
    snapshots = find_snapshots(run / FOLDER)
    steps = sorted({snapshot.step for snapshot in snapshots})
    step = steps[-1] if step is None else step
    if step not in steps:
        raise CheckpointError(f"there is no snapshot of step {step} in {run / FOLDER}; there are: {_listed(steps)}.")
    found, error = reconstruct(snapshots, step, std)
    if error > ROUGH and report:
        count = steps.index(step) + 1
        report(
            f"the average of relative width {std} is rough: {count} steps have snapshots, and its weights are {error:.0%} off."
        )
    same = step if step in checkpoint_steps(run / "checkpoints") else None
    variables, _ = restore_variables(run / "checkpoints", abstract, step=same, report=report)
    flat = traverse_util.flatten_dict(variables, sep="/")
    if strange := [name for name, leaf in found.items() if name not in flat or flat[name].shape != leaf.shape]:
        raise CheckpointError(
            f"the snapshots in {run / FOLDER} are of another model: {strange[0]} is not in it, or of another shape."
        )
    for name, leaf in found.items():
        flat[name] = _placed(leaf, flat[name])
    return traverse_util.unflatten_dict(flat, sep="/")


def _placed(leaf: np.ndarray, like: jax.Array) -> jax.Array:
    """In the type of `like`, and where it lies."""
    leaf = leaf.astype(like.dtype)
    return jax.make_array_from_callback(leaf.shape, like.sharding, lambda index: leaf[index])


def _listed(values: Sequence[float]) -> str:
    return ", ".join(map(str, values)) or "none"
