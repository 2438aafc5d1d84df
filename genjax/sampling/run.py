"""Opening a run directory for sampling: its config, its tokenizer and its weights."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
from flax import linen as nn
from jax.sharding import Mesh

from genjax import data, tasks
from genjax.config import structure
from genjax.data.found import with_found
from genjax.errors import CheckpointError, ConfigError
from genjax.parallel import rules as axis_rules
from genjax.parallel.mesh import AXES, MeshConfig, make_mesh
from genjax.sampling.adopted import FOLDER as ADOPTED
from genjax.sampling.averages import averaged_afterwards, choose_average
from genjax.storage.restore import checkpoint_steps, restore_variables
from genjax.tasks.contract import Task, Variables


def open_run(
    workdir: Path | str,
    checkpoint: int | None = None,
    *,
    dtype: str | None = None,
    mesh: Mesh | None = None,
    rules: axis_rules.Rules | None = None,
    ema: float | None = None,
    ema_std: float | None = None,
    report: Callable[[str], None] | None = None,
) -> tuple[Task, Variables]:
    """The task and the variables of a run; the averaged ones where the run keeps an average.

    Args:
        workdir: a run directory of train.py.
        checkpoint: a step; None: the newest.
        dtype: of the computation; None: as trained.
        mesh, rules: where the variables are to lie; None: the default device.
        ema: the decay of an average that the run keeps, or 0 for the raw variables; None: the run's first average, which its own
            evaluation and samples use.
        ema_std: in its place, the relative width of a power-function average: one that the run keeps, or any other, made of its
            snapshots (see `genjax.storage.power_averages`) at the step `checkpoint`, or the last that has snapshots.
        report: receives warnings as lines.

    Raises:
        CheckpointError: no run directory, no checkpoint that can be read, or no such average.
        ConfigError: a config that this version cannot read.
    """
    task = run_task(workdir, dtype=dtype)
    variables = run_variables(workdir, task, checkpoint, mesh=mesh, rules=rules, ema=ema, ema_std=ema_std, report=report)
    return task, variables


def run_task(workdir: Path | str, *, dtype: str | None = None) -> Task:
    """The task of a run, without its weights. Arguments and errors as for `open_run`."""
    path = Path(workdir)
    config = read_config(path)
    tokenizer = data.load_tokenizer(path / "tokenizer") if (path / "tokenizer").is_dir() else None
    section, info = _with_dtype(config["task"], dtype), data.describe(with_found(config["data"], path), tokenizer)
    return tasks.build(section, info, {name: run_task(path / ADOPTED / name) for name in tasks.adopted_runs(section)})


def run_variables(
    workdir: Path | str,
    task: Task,
    checkpoint: int | None = None,
    *,
    mesh: Mesh | None = None,
    rules: axis_rules.Rules | None = None,
    ema: float | None = None,
    ema_std: float | None = None,
    report: Callable[[str], None] | None = None,
) -> Variables:
    """The variables of a run, whose task is `task`. Arguments and errors as for `open_run`."""
    path = Path(workdir)
    config = read_config(path)
    boxed = jax.eval_shape(lambda: task.init(jax.random.key(0)))
    abstract = nn.unbox(boxed)
    if mesh is not None:
        places = axis_rules.tree_shardings(boxed, mesh, axis_rules.DEFAULT_RULES if rules is None else rules)
        abstract = jax.tree.map(lambda a, s: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=s), abstract, places)
    name = choose_average(path, config.get("ema", {}), ema, ema_std, checkpoint)
    if name is None:
        return averaged_afterwards(path, abstract, ema_std, checkpoint, report=report)
    return restore_variables(path / "checkpoints", abstract, step=checkpoint, ema=name, report=report)[0]


def newest_checkpoint(workdir: Path | str) -> int | None:
    """The step that sampling from a run takes where none is asked for; None where the run has no checkpoint."""
    return max(checkpoint_steps(Path(workdir, "checkpoints")), default=None)


def parse_mesh(text: str) -> Mesh | None:
    """`data=1,tensor=4` to a mesh over as many devices as the axes need; an empty text is no mesh.

    The data axis takes what remains where it is not named.

    Raises:
        ConfigError: another form, an unknown axis, or more devices than there are.
    """
    if not text:
        return None
    sizes = {}
    for part in text.split(","):
        axis, equals, size = part.partition("=")
        if not equals or not size.strip().lstrip("-").isdecimal():
            raise ConfigError(f"--mesh must look like data=1,tensor=4, but is {text!r}.")
        sizes[axis.strip()] = int(size)
    config = structure(MeshConfig, sizes, "mesh")
    needed = 1
    for axis in AXES:
        needed *= getattr(config, axis)
    devices = jax.devices()
    return make_mesh(config, devices[:needed] if 0 < needed < len(devices) else devices)


def read_config(path: Path) -> Mapping[str, Any]:
    """The config of a run directory. Raises CheckpointError where there is none."""
    if not path.is_dir():
        raise CheckpointError(f"there is no run directory {path}; --workdir takes the one that train.py wrote.")
    file = path / "config.json"
    try:
        config = json.loads(file.read_text("utf-8"))
    except FileNotFoundError as error:
        hint = " It looks like a weights folder: use --weights." if any(path.glob("*.safetensors*")) else ""
        raise CheckpointError(f"{path} is no run directory: it has no config.json.{hint}") from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{file} cannot be read: {error}.") from error
    missing = [section for section in ("task", "data") if not isinstance(config, dict) or section not in config]
    if missing:
        hint = " It looks like a weights folder: use --weights." if "model_type" in (config or ()) else ""
        raise CheckpointError(f"{file} is no run's config: it has no section {' and '.join(missing)}.{hint}")
    return config


def _with_dtype(section: Mapping[str, Any], dtype: str | None) -> Mapping[str, Any]:
    """The task's section with the computation's dtype replaced: `model.dtype` wherever there is a network."""
    if dtype is None:
        return section
    if not isinstance(section.get("model"), Mapping):
        raise ConfigError(f"--dtype: task {section.get('name')!r} has no config.task.model to set it in; leave it out.")
    return {**section, "model": {**section["model"], "dtype": dtype}}
