"""A run directory: one writer at a time, one config, and a record of what ran there.

The lock is an flock on RUN/lock: the kernel frees it when its holder ends, however it ends. The file's text (host, pid, since)
only serves the message.
"""

import datetime
import errno
import fcntl
import fnmatch
import importlib.metadata
import json
import os
import platform
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from genjax import __version__
from genjax.config import differences, plain
from genjax.errors import ConfigError, RunError

UNSUPPORTED = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK)  # what file systems without flock answer
PACKAGES = ("jax", "jaxlib", "libtpu", "flax", "optax", "orbax-checkpoint", "grain", "numpy")


class RunDirectory:
    """Creates and locks `path`; a context manager. Process 0 locks and writes; the others learn whether that worked.

    Raises:
        RunError: the path is a file, cannot be written, or is held by another process (which is named).
    """

    def __init__(self, path: Path | str):
        self.path = Path(path).absolute()
        self._lock: int | None = None
        self._on_process_zero(self._create_and_lock)

    def write_config(self, config: Any, *, changeable: Sequence[str] = (), allow_changes: bool = False) -> list[str]:
        """Stores config.json, or holds `config` against the stored one; accepted changes are stored.

        Args:
            config: a nested mapping or dataclass.
            changeable: patterns (fnmatch, without "config.") of keys that may change between two starts of a run:
                "train.steps", "mesh.*".
            allow_changes: accept every change.

        Returns:
            The accepted differences, one line each.

        Raises:
            ConfigError: the other differences, all of them.
        """
        accepted: list[str] = []

        def compare_and_write() -> None:
            file = self.path / "config.json"
            new = json.loads(json.dumps(plain(config)))
            old = _read_json(file) if file.exists() else None
            lines = differences(*_with_the_same_sections(old, new)) if old is not None else []
            refused = [line for line in lines if not allow_changes and not _matches(line, changeable)]
            if refused:
                raise ConfigError(
                    f"the config differs from the one that {self.path} was started with (old -> new):\n  "
                    + "\n  ".join(refused)
                    + "\nStart a new run with another --workdir, take the changes back, or accept them with --allow_changes."
                )
            accepted.extend(lines)
            if old is None or lines:
                write_json(file, new)

        self._on_process_zero(compare_and_write)
        return accepted

    def write_environment(self, extra: Mapping[str, Any] | None = None) -> None:
        """Appends this start to environment.json, `{"starts": [...]}`: time, versions, devices, git commit, command line."""

        def append() -> None:
            file = self.path / "environment.json"
            try:
                starts = _read_json(file)["starts"] if file.exists() else []
            except (RunError, KeyError, TypeError):
                starts = []  # a record for people: a broken one must not stop a run
            write_json(file, {"starts": [*starts, environment() | dict(plain(extra or {}))]})

        self._on_process_zero(append)

    def close(self) -> None:
        """Frees the directory for another process."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> "RunDirectory":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _on_process_zero(self, action) -> None:
        """Runs `action` on process 0 and raises on all where it raised there, so that none waits for a run that never starts."""
        problem: Exception | None = None
        if jax.process_index() == 0:
            try:
                action()
            except OSError as error:
                problem = RunError(f"cannot write the run directory {self.path}: {(error.strerror or str(error)).lower()}.")
                problem.__cause__ = error
            except Exception as error:  # raised again below, after the other processes have been told
                problem = error
        failed = problem is not None
        if jax.process_count() > 1:
            failed = bool(multihost_utils.broadcast_one_to_all(np.int32(failed)))
        if problem is not None:
            raise problem
        if failed:
            raise RunError(f"process 0 could not use the run directory {self.path}; its message says why.")

    def _create_and_lock(self) -> None:
        for part in (self.path, *self.path.parents):
            if part.exists() and not part.is_dir():
                raise RunError(f"the run directory {self.path} cannot be made: {part} is a file; choose another --workdir.")
        self.path.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = _holder(self._lock)
            self.close()
            raise RunError(
                f"the run directory {self.path} is in use by {holder}; wait until it ends, stop it, or choose another --workdir."
            ) from error
        except OSError as error:
            if error.errno not in UNSUPPORTED:
                self.close()
                raise
            print(f"warning: {self.path} is on a file system without locks; keep other runs away from it.", file=sys.stderr)
        now = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
        text = json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "since": now}) + "\n"
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, text.encode(), 0)


def environment() -> dict[str, Any]:
    """What this process runs on: time, versions, devices, git commit of the genjax checkout and command line."""
    devices = jax.devices()
    return {
        "time": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "command": sys.argv,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": {name: version for name in PACKAGES if (version := _version(name))},
        "genjax": _git_state(Path(__file__).resolve().parents[2]),
        "devices": {
            "count": len(devices),
            "kind": devices[0].device_kind,
            "platform": devices[0].platform,
            "processes": jax.process_count(),
        },
    }


def write_json(path: Path, content: Any) -> None:
    """Writes the whole file or nothing, also when the process is killed on the way."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(temporary, "w", encoding="utf-8") as file:
            json.dump(content, file, indent=2)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise RunError(f"{path} is not JSON ({error}); restore it, or delete it if the config is the same.") from error


def _with_the_same_sections(old: Any, new: Any) -> tuple[Any, Any]:
    """The two with an empty section wherever only the other has one, so that differences are told key by key."""
    old, new = ({} if a is None and isinstance(b, dict) else a for a, b in ((old, new), (new, old)))
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return old, new
    pairs = {key: _with_the_same_sections(old.get(key), new.get(key)) for key in old.keys() | new.keys()}
    return {key: a for key, (a, _) in pairs.items()}, {key: b for key, (_, b) in pairs.items()}


def _matches(line: str, patterns: Sequence[str]) -> bool:
    key = line.split(": ", 1)[0].removeprefix("config.")
    return any(fnmatch.fnmatchcase(key, pattern) for pattern in patterns)


def _holder(lock: int) -> str:
    try:
        told = json.loads(os.pread(lock, 4096, 0))
        host, pid, since = told["host"], int(told["pid"]), told["since"]
    except (ValueError, KeyError, TypeError):
        return "another process"
    if host == socket.gethostname() and not Path(f"/proc/{pid}").exists() and Path("/proc/self").exists():
        return f"a process that {pid} (on {host}, since {since}) started and left behind"
    return f"process {pid} on {host} since {since}"


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git_state(root: Path) -> dict[str, Any]:
    """`{"version", "commit", "dirty"}` of the checkout; without the latter two where genjax is not one."""
    try:
        git = ["git", "-C", str(root)]
        top = subprocess.run([*git, "rev-parse", "--show-toplevel", "HEAD"], capture_output=True, text=True, timeout=10)
        status = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True, timeout=10)
        folder, commit = top.stdout.split()
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return {"version": __version__}
    if Path(folder).resolve() != root or status.returncode:
        return {"version": __version__}  # installed inside somebody else's repository
    return {"version": __version__, "commit": commit, "dirty": bool(status.stdout.strip())}
