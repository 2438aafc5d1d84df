"""Asynchronous sharded checkpoints with retention, integrity checks and a way back from a broken one.

A step's folder is `RUN/checkpoints/<step>/` with the Orbax items `state` (arrays), `meta` (JSON of the caller: config, data
position, versions) and `manifest` (JSON: shape, dtype and checksum of every leaf of `state`). Orbax writes under another name
and renames at the end, so a killed save leaves no step; what a disk or a file system does afterwards is caught by the manifest.
"""

import errno
import gc
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from etils import epath
from jax.experimental import multihost_utils
from orbax.checkpoint.checkpoint_managers import preservation_policy

from genjax.config import plain
from genjax.errors import CheckpointError, RunError
from genjax.parallel import processes
from genjax.storage import manifest as manifests
from genjax.storage.quiet import QuietOrbax

TEMPORARY = ".orbax-checkpoint-tmp"  # in the name of what Orbax has not committed
OVERHEAD_BYTES = 64 * 1024  # metadata of a small checkpoint
MAX_LISTED = 40  # differing leaves in a message
GOOD, DAMAGED, UNREADABLE = range(3)  # verdicts on a checkpoint; processes agree on the largest
NOT_DAMAGE = ("RESOURCE_EXHAUSTED", "PERMISSION_DENIED", "UNAVAILABLE", "DEADLINE_EXCEEDED", "Too many open files")


class Checkpoints:
    """The checkpoints of one run directory. Every process of a run calls every method, in the same order.

    Args:
        directory: `RUN/checkpoints`; created by the first `save`.
        keep: how many of the newest steps stay.
        keep_every: steps that this number divides stay for ever; 0 for none.
        asynchronous: write in the background; `save` returns when the arrays have left the devices.
        stop_on_failure: a save that fails (disk full) raises RunError (True), or is one warning and the run goes on (False;
            in runs of several processes a failed write always stops, since the processes can no longer agree).
        report: receives each warning as one line, on process 0; by default it is printed to standard error.
    """

    def __init__(
        self,
        directory: Path | str,
        *,
        keep: int = 3,
        keep_every: int = 0,
        asynchronous: bool = True,
        stop_on_failure: bool = True,
        report: Callable[[str], None] | None = None,
    ):
        self.directory = Path(directory).absolute()
        self._keep, self._keep_every, self._asynchronous = max(keep, 1), keep_every, asynchronous
        self._stop_on_failure = stop_on_failure
        self._report_line = report or (lambda line: print(f"warning: {line}", file=sys.stderr, flush=True))
        self._manager: ocp.CheckpointManager | None = None
        self._writing: tuple[int, int] | None = None  # step and bytes of the save in flight
        self._own: set[int] = set()  # steps that this object saved or restored
        self._has_failed = False
        self._quiet = QuietOrbax()
        self._quiet.start()

    def save(self, step: int, state: Mapping[str, Any], meta: Mapping[str, Any]) -> bool:
        """Starts saving; waits first for the save before.

        Args:
            step: the folder's name. A step that this object has already saved or restored is not written again. Later steps
                of an abandoned branch (the run went back to an earlier step) are moved aside with a warning.
            state: a tree of global `jax.Array`s, typed PRNG keys among them.
            meta: JSON-ready; dataclasses and ConfigDicts in it become plain.

        Returns:
            False where nothing is being written because saving failed and `stop_on_failure` is off.

        Raises:
            RunError: this save, or the one before, failed; the last good checkpoint is named.
        """
        self.wait()
        if step in self._own and step in self.all_steps():
            return True
        meta = json.loads(json.dumps(plain(meta)))
        needed = manifests.total_bytes(jax.eval_shape(manifests.unwrap_keys, state)) + OVERHEAD_BYTES
        try:
            if self._manager is None:
                self._remove_unfinished()
                self._manager = self._open()
            self._move_aside([s for s in self.all_steps() if s >= step and s not in self._own], "abandoned")
        except OSError as error:
            return self._failed(step, needed, error)
        free = self._free_bytes()
        if processes.worst(int(free < needed)):
            return self._failed(step, needed, OSError(errno.ENOSPC, "too little space"), wrote=False)
        items = ocp.args.Composite(
            state=ocp.args.StandardSave(manifests.unwrap_keys(state)),
            meta=ocp.args.JsonSave(meta),
            manifest=ocp.args.JsonSave(manifests.describe(state, meta)),
        )
        try:
            self._manager.save(step, args=items, force=True)
        except Exception as error:  # Orbax and TensorStore raise many types; every one means that the step was not saved
            return self._failed(step, needed, error)
        self._writing = (step, needed)
        self._own.add(step)
        if not self._asynchronous:
            return self.wait()
        return True

    def restore(self, abstract: Mapping[str, Any], step: int | None = None) -> tuple[dict[str, Any], dict[str, Any], int]:
        """Reads a checkpoint onto the devices that `abstract` names; any mesh will do.

        Args:
            abstract: the state's tree with ShapeDtypeStructs; `sharding` says where a leaf goes (None: the first device).
            step: exactly this one; None: the newest that is whole. Damaged newer ones are moved aside and reported.

        Returns:
            `(state, meta, step)`, bit for bit what was saved.

        Raises:
            CheckpointError: there is none; it does not fit the model (all differing leaves are listed); all are damaged.
        """
        self.wait()
        steps = self.all_steps()
        if not steps or (step is not None and step not in steps):
            which = "no checkpoint" if step is None else f"no checkpoint of step {step}"
            raise CheckpointError(f"{which} in {self.directory}; there are: {', '.join(map(str, steps)) or 'none'}.")
        damage: dict[int, str] = {}
        for candidate in [step] if step is not None else reversed(steps):
            found = self._read(candidate, abstract)
            if not isinstance(found, str):
                self._set_damaged_aside(damage, candidate)
                self._own.add(candidate)
                return *found, candidate
            damage[candidate] = found
        reasons = "; ".join(f"step {s}: {reason}" for s, reason in damage.items())
        if step is not None:
            others = ", ".join(str(s) for s in steps if s != step) or "none"
            raise CheckpointError(f"checkpoint {step} in {self.directory} is damaged ({damage[step]}); other steps: {others}.")
        raise CheckpointError(
            f"every checkpoint in {self.directory} is damaged ({reasons}). Bring back a copy, or delete them to start again."
        )

    def all_steps(self) -> list[int]:
        """Steps on disk whose save has finished, in order."""
        try:
            names = os.listdir(self.directory)
        except FileNotFoundError:
            return []
        return sorted(int(name) for name in names if name.isdecimal() and str(int(name)) == name)

    def latest_step(self) -> int | None:
        """The newest step on disk, or None."""
        return max(self.all_steps(), default=None)

    def check(self) -> bool:
        """Surfaces the failure of a background save as `wait` does, without waiting; cheap enough for every step."""
        # Orbax's own check_for_errors would take the exception from its finalizing thread, which then deletes old steps.
        if self._writing is None or self._manager.is_saving_in_progress():
            return True
        return self.wait()

    def wait(self) -> bool:
        """Waits for the background save. Returns False, or raises RunError, where it failed."""
        if self._writing is None:
            return True
        (step, needed), self._writing = self._writing, None
        try:
            self._manager.wait_until_finished()
        except Exception as error:  # as in save
            return self._failed(step, needed, error)
        return True

    def close(self) -> None:
        """Waits, and frees the threads."""
        try:
            self.wait()
        finally:
            self._shut()
            # The writes that failed complain once more when their exception is freed, which may be at the interpreter's end.
            if not self._has_failed:
                self._quiet.stop()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self) -> ocp.CheckpointManager:
        policies = [preservation_policy.LatestN(self._keep)]
        if self._keep_every:
            policies.append(preservation_policy.EveryNSteps(self._keep_every))
        options = ocp.CheckpointManagerOptions(
            preservation_policy=preservation_policy.AnyPreservationPolicy(policies),
            enable_async_checkpointing=self._asynchronous,
            save_root_metadata=False,
        )
        return ocp.CheckpointManager(epath.Path(self.directory), options=options)

    def _shut(self) -> None:
        manager, self._manager = self._manager, None
        if manager is not None:
            try:
                manager.close()
            except Exception:  # noqa: S110 - it repeats the failure that has been reported
                pass

    def _failed(self, step: int, needed: int, error: Exception, wrote: bool = True) -> bool:
        """Cleans up after a save that failed, and says so: raises, or reports and returns False."""
        self._own.discard(step)
        self._has_failed = True
        if wrote:
            self._shut()
            self._remove_unfinished()
        last = self.latest_step()
        kept = f"the last good checkpoint is step {last}" if last is not None else "there is no earlier checkpoint"
        code = _errno(error)
        reason = os.strerror(code).lower() if code else _reason(error)
        if code in (errno.ENOSPC, errno.EDQUOT):
            free = f"{_size(self._free_bytes())} free at {self.directory}, about {_size(needed)} needed"
            reason = f"no space left on the disk ({free}); free some space"
        message = f"checkpoint {step} could not be saved: {reason}; {kept}."
        if self._stop_on_failure or (wrote and jax.process_count() > 1):
            raise RunError(message) from error
        self._report(message)
        return False

    def _report(self, line: str) -> None:
        if jax.process_index() == 0:
            self._report_line(line)

    def _remove_unfinished(self) -> None:
        if jax.process_index() == 0 and self.directory.is_dir():
            for path in self.directory.iterdir():
                for _ in range(3):  # a write that was under way can put a file into a folder that is being removed
                    if TEMPORARY in path.name and path.exists():
                        shutil.rmtree(path, ignore_errors=True)

    def _free_bytes(self) -> int:
        existing = next(p for p in (self.directory, *self.directory.parents) if p.exists())
        return shutil.disk_usage(existing).free

    def _read(self, step: int, abstract: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]] | str:
        """`(state, meta)`, or what is damaged. All processes come to the same verdict, so that all fall back together."""
        folder = epath.Path(self.directory) / str(step)
        manifest, meta, differing, reason, verdict = {}, {}, [], "", GOOD
        try:
            manifest, meta = _read_json(folder, "manifest"), _read_json(folder, "meta")
            manifests.check_json(manifest, meta)
            differing = manifests.mismatches(manifest, abstract)
        except Exception as error:  # JSON of any shape can be here
            reason, verdict = _reason(error), _verdict(error)
        if self._agree(step, verdict, reason) == DAMAGED:
            return reason or "another process could not read it"
        if differing:
            more = [f"... and {len(differing) - MAX_LISTED} more"] if len(differing) > MAX_LISTED else []
            lines = "\n  ".join(differing[:MAX_LISTED] + more)
            raise CheckpointError(
                f"checkpoint {step} in {self.directory} is of another model; {len(differing)} leaves differ:\n  {lines}\n"
                "Use another workdir, or the config that made this checkpoint (config.json in its run directory)."
            )
        data = None
        try:
            # The handler and not the manager: the manager ends with a barrier, where a process that could not read its part
            # would leave the others waiting.
            arguments = ocp.args.StandardRestore(manifests.unwrap_abstract_keys(abstract))
            data = ocp.StandardCheckpointHandler().restore(folder / "state", args=arguments)
        except Exception as error:  # TensorStore and Orbax raise many types
            reason, verdict = _reason(error), _verdict(error)
        if self._agree(step, verdict, reason) == DAMAGED:
            gc.collect()  # the reads that were given up complain when they are freed: now, while that is kept quiet
            return reason or "another process could not read it"
        wrong = manifests.damaged_leaves(manifest, data)
        if wrong:
            return f"the checksum of {wrong[0]} does not match" + (f", nor of {len(wrong) - 1} others" if len(wrong) > 1 else "")
        return manifests.wrap_keys(data, abstract, manifest), meta

    def _agree(self, step: int, verdict: int, reason: str) -> int:
        """The worst verdict of all processes; raises where the checkpoint may be good and something else is not."""
        worst = processes.worst(verdict)
        if worst == UNREADABLE:
            raise CheckpointError(f"checkpoint {step} in {self.directory} cannot be read: {reason or 'see the other processes'}.")
        return worst

    def _set_damaged_aside(self, damage: Mapping[int, str], good: int) -> None:
        for step, reason in damage.items():
            moved = self._move_aside([step], "damaged")
            self._report(f"checkpoint {step} is damaged ({reason}); going on from step {good}. The damaged one is now {moved}.")

    def _move_aside(self, steps: list[int], word: str) -> str:
        """Renames step folders so that their names are free; returns the last new path."""
        if not processes.worst(len(steps)):  # also a barrier: nobody renames before all have looked
            return ""
        target = self.directory
        for step in steps:
            numbers = ("", *(f"-{n}" for n in range(2, 1000)))
            target = next(p for n in numbers if not (p := self.directory / f"{step}.{word}{n}").exists())
            if jax.process_index() == 0:
                os.rename(self.directory / str(step), target)
            if word == "abandoned":
                self._report(f"step {step} of an abandoned branch of this run is now {target}.")
        if steps and jax.process_count() > 1:
            multihost_utils.sync_global_devices("genjax checkpoints moved aside")
        if steps and self._manager is not None:
            self._manager.reload()
        return str(target)


def _read_json(folder: epath.Path, item: str) -> dict[str, Any]:
    """An item that JsonSave wrote."""
    try:
        content = json.loads((folder / item / "metadata").read_text())
    except FileNotFoundError as error:
        raise ValueError(f"{item} is missing") from error
    except ValueError as error:  # not JSON, or not even text
        raise ValueError(f"{item} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{item} is not a JSON object")
    return content


def _verdict(error: Exception) -> int:
    """Whether an error while reading means damage, or lies elsewhere (memory, permissions, a server that is away)."""
    elsewhere = isinstance(error, (PermissionError, MemoryError)) or any(text in str(error) for text in NOT_DAMAGE)
    return UNREADABLE if elsewhere else DAMAGED


def _errno(error: BaseException) -> int | None:
    """The operating system's number of an error, also out of TensorStore's text."""
    if isinstance(error, OSError) and error.errno:
        return error.errno
    found = re.search(r"os_error_code='(\d+)'", str(error))
    return int(found[1]) if found else None


def _reason(error: BaseException, limit: int = 200) -> str:
    """One line of an error, of TensorStore's and Orbax's the part that names the cause."""
    while "Encountered error while reading array index" in str(error) and (error.__cause__ or error.__context__):
        error = error.__cause__ or error.__context__
    line = (str(error).strip() or "failed").splitlines()[0].split(" [tensorstore_spec")[0]
    if isinstance(error, (KeyError, TypeError, AttributeError, IndexError, UnicodeDecodeError, json.JSONDecodeError)):
        line = f"the description of its arrays cannot be read: {type(error).__name__}: {line}"
    elif found := re.search(r'Error (?:reading|writing) "([^"]+)" in OCDBT', line):
        line = f"{found[1]}: {line.rsplit(chr(34) + ': ', 1)[-1]}"
    return line if len(line) <= limit else line[: limit - 3] + "..."


def _size(count: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
