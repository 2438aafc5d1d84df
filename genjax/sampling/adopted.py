"""Networks that a run takes over from other runs, such as the frozen first stage of a model in two stages.

When a run begins, their weights become components of its own, and RUN/adopted/NAME keeps what describes them: their config, what
their data said. From then on the run needs them no more; `source.json` there says where they came from.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from genjax import tasks
from genjax.data.found import FILE as FOUND
from genjax.errors import CheckpointError, ConfigError
from genjax.sampling.averages import choose_average
from genjax.storage.restore import checkpoint_steps, variables_digest

FOLDER = "adopted"
FILE = "source.json"
_DESCRIPTION = ("config.json", FOUND, "tokenizer", FOLDER)


@dataclass(frozen=True)
class Source:
    """Where networks come from.

    Attributes:
        run: its run directory.
        step: of its checkpoint.
        digest: of its variables, see `variables_digest`.
    """

    run: str
    step: int
    digest: str


def sources(section: Mapping[str, Any], kept: Path | None = None) -> dict[str, Source]:
    """The runs that `config.task` names, each at its newest checkpoint, or at the one that was taken where a run has begun.

    Args:
        section: `config.task`. `first_stage_digest` beside `first_stage` says what its digest must be, and so for all.
        kept: RUN/adopted of a run that has begun.

    Raises:
        ConfigError: no run there, or none with a checkpoint; or another one than the config, or the run that has begun, says.
    """
    found = {}
    for name, place in tasks.adopted_runs(section).items():
        taken = _taken(kept, name)
        run = Path(place).expanduser()
        if taken is not None and taken.step not in checkpoint_steps(run / "checkpoints"):
            found[name] = taken  # its weights are in the run's own checkpoints
            continue
        source = newest_source(name, place) if taken is None else Source(str(run), taken.step, _digest(run, taken.step))
        if taken is not None and source.digest != taken.digest:
            raise ConfigError(
                f"config.task.{name}: {place} is not what this run began with: step {source.step:,} has the digest "
                f"{source.digest}, and had {taken.digest}. Restore it, or begin a new run with another --workdir."
            )
        wanted = section.get(f"{name}_digest")
        if wanted and source.digest != wanted:
            raise ConfigError(
                f"config.task.{name}: {place} at step {source.step:,} has the digest {source.digest}, but "
                f"config.task.{name}_digest says {wanted}; name that run, or take the digest back."
            )
        found[name] = source
    return found


def keep(folder: Path, found: Mapping[str, Source]) -> None:
    """Leaves in RUN/adopted what describes each; what is there already stays."""
    for name, source in found.items():
        place = folder / name
        if (place / FILE).exists():
            continue
        place.mkdir(parents=True, exist_ok=True)
        for entry in _DESCRIPTION:
            path = Path(source.run).expanduser() / entry
            if path.is_dir():
                shutil.copytree(path, place / entry, dirs_exist_ok=True)
            elif path.exists():
                shutil.copyfile(path, place / entry)
        (place / FILE).write_text(json.dumps(asdict(source), indent=2) + "\n", encoding="utf-8")  # last: now it is complete


def _taken(kept: Path | None, name: str) -> Source | None:
    file = kept / name / FILE if kept else None
    if file is None or not file.exists():
        return None
    try:
        return Source(**json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise CheckpointError(f"{file} cannot be read: {error}.") from error


def newest_source(name: str, place: str) -> Source:
    """A run at its newest checkpoint. Raises ConfigError: no run, or none with a checkpoint; `name` is the key that names it."""
    run = Path(place).expanduser()
    if not (run / "config.json").is_file():
        raise ConfigError(f"config.task.{name} names {place}, but there is no run; train it first, or name its directory.")
    steps = checkpoint_steps(run / "checkpoints")
    if not steps:
        raise ConfigError(f"config.task.{name} names {place}, a run without a checkpoint; train it first.")
    return Source(str(run), steps[-1], _digest(run, steps[-1]))


def _digest(run: Path, step: int) -> str:
    ema = json.loads((run / "config.json").read_text(encoding="utf-8")).get("ema", {})
    return variables_digest(run / "checkpoints", step, choose_average(run, ema, None, None, step) or "")
