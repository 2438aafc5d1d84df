"""metrics.jsonl and tensorboard events, whole again after a kill and without repeats after a resume."""

import contextlib
import functools
import json
import math
import os
import sys
import time
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

HELD_OUT, SAMPLES = "held_out", "samples"  # what names of figures begin with that are found now and then
DEVIATION = "_deviation"  # the end of names of what says how sure another figure is
NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


class MetricsWriter:
    """Appends to `directory/metrics.jsonl` and `directory/tensorboard/`; a context manager.

    A full disk loses the lines that do not fit, with one warning, and never stops a run.

    Args:
        directory: the run directory.
        resumed_from: step of the restored checkpoint: later lines are dropped, and a torn one. None starts afresh: all are.
        enabled: False writes nothing (processes other than the first).
    """

    def __init__(self, directory: Path | str, *, resumed_from: int | None = None, enabled: bool = True):
        self._enabled = enabled
        self._warned = False
        self._path = Path(directory) / "metrics.jsonl"
        self._tensorboard = Path(directory) / "tensorboard"
        self._lines: int | None = None  # file descriptor
        self._events: Any = None  # tensorboardX's EventsWriter
        self._begun = False
        self._first_step = 0 if resumed_from is None else resumed_from + 1
        if enabled:
            with self._warning():
                keep = [line for step, line in _whole_lines(self._path) if resumed_from is not None and step <= resumed_from]
                _replace(self._path, b"".join(keep))
                self._lines = os.open(self._path, os.O_WRONLY | os.O_APPEND)

    def write(self, step: int, values: Mapping[str, Any]) -> None:
        """Writes one line `{"step", "time", name: value...}` and the same to tensorboard.

        Args:
            step: not below that of the line before. A step may have several lines with different names (training, evaluation).
            values: `{name: scalar}`. NaN and infinities are written as the texts "NaN", "Infinity" and "-Infinity", which keeps
                every line valid JSON.
        """
        if not self._enabled:
            return
        now = time.time()
        numbers = {name: _number(value) for name, value in values.items()}
        record = {"step": int(step), "time": round(now, 3)} | {name: _text(value) for name, value in numbers.items()}
        with self._warning():
            self._append(json.dumps(record, allow_nan=False).encode() + b"\n")
        with self._warning():
            self._add_events(int(step), now, numbers)

    def close(self) -> None:
        """Closes both files."""
        with contextlib.suppress(OSError):
            if self._events is not None:
                self._events.close()
        if self._lines is not None:
            os.close(self._lines)
        self._events, self._lines, self._enabled = None, None, False

    def __enter__(self) -> "MetricsWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _append(self, line: bytes) -> None:
        if self._lines is None:
            self._lines = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        length = os.fstat(self._lines).st_size
        try:
            if os.write(self._lines, line) != len(line):
                raise OSError("no space left for a whole line")
        except OSError:
            os.ftruncate(self._lines, length)
            raise

    def _add_events(self, step: int, now: float, numbers: Mapping[str, float]) -> None:
        board = _tensorboard()
        if self._events is None:
            self._tensorboard.mkdir(parents=True, exist_ok=True)
            number = len(os.listdir(self._tensorboard))
            # EventsWriter, since tensorboardX's queueing writer stops for ever when its thread meets a full disk.
            self._events = board.EventsWriter(str(self._tensorboard / "events"), f".{os.getpid()}.{number}")
            if not self._begun:
                self._begun = True
                start = board.SessionLog(status=board.SessionLog.START)  # hides what an earlier session wrote from this step on
                self._events.write_event(board.Event(wall_time=now, step=self._first_step, session_log=start))
        try:
            scalars = [board.Summary.Value(tag=name, simple_value=value) for name, value in numbers.items()]
            self._events.write_event(board.Event(wall_time=now, step=step, summary=board.Summary(value=scalars)))
            self._events.flush()
        except OSError:
            broken, self._events = self._events, None  # the next write begins another file
            with contextlib.suppress(OSError):
                broken.close()
            raise

    @contextlib.contextmanager
    def _warning(self):
        try:
            yield
        except OSError as error:
            if not self._warned:
                self._warned = True
                reason = (error.strerror or str(error)).lower()
                print(f"warning: metrics cannot be written to {self._path.parent}: {reason}; the run goes on.", file=sys.stderr)


def read_metrics(path: Path | str) -> list[dict[str, Any]]:
    """One record a step, in the order of steps, the step's lines merged; lines that are not whole are skipped.

    "NaN" and "Infinity" come back as floats. A missing file is an empty list.
    """
    records: dict[int, dict[str, Any]] = {}
    for step, line in _whole_lines(Path(path)):
        values = json.loads(line).items()
        records.setdefault(step, {}).update({n: NOT_FINITE.get(v, v) if isinstance(v, str) else v for n, v in values})
    return [records[step] for step in sorted(records)]


@functools.cache
def _tensorboard() -> types.SimpleNamespace:
    """The parts of tensorboardX that are used. It imports torch wherever that is installed, to take its tensors; it gets numbers
    here, and a run should not pay for torch."""
    hidden = "torch" not in sys.modules
    if hidden:
        sys.modules["torch"] = None  # an import now raises ImportError, which tensorboardX expects
    try:
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event, SessionLog
        from tensorboardX.proto.summary_pb2 import Summary
    finally:
        if hidden:
            del sys.modules["torch"]
    return types.SimpleNamespace(EventsWriter=EventsWriter, Event=Event, SessionLog=SessionLog, Summary=Summary)


def _whole_lines(path: Path) -> list[tuple[int, bytes]]:
    """(step, line) of every line that is a JSON object with a step."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return []
    found = []
    for line in content.splitlines():
        try:
            found.append((int(json.loads(line)["step"]), line + b"\n"))
        except (ValueError, KeyError, TypeError):
            continue  # torn by a kill or a full disk
    return found


def _replace(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(content)
    os.replace(temporary, path)


def _number(value: Any) -> float | int:
    value = np.asarray(value).item()
    return int(value) if isinstance(value, (bool, int)) else float(value)


def _text(value: float) -> Any:
    if isinstance(value, int) or math.isfinite(value):
        return value
    return next(text for text, number in NOT_FINITE.items() if number == value or (number != number and value != value))
