"""Hands jobs to the sandbox's processes and brings back what they report."""

import atexit
import json
import math
import os
import select
import socket
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from genjax.errors import RunError
from genjax.evaluation.code.inside.namespaces import FOLDER

START = "import sys; sys.path.insert(0, {folder!r}); from inside import server; del sys.path[0]; server.main({control})"
GRACE = 20.0  # seconds beyond the limit, for starting and clearing up on a busy machine
LIBRARIES = ("/lib", "/lib32", "/lib64", "/usr/lib", "/usr/lib32", "/usr/lib64")
# All of the environment that a program sees, with HOME and TMPDIR: hashing without a seed, so that a result can be repeated, and
# one thread for libraries that would start one a core.
ENVIRONMENT = {
    "PYTHONHASHSEED": "0",
    "PYTHONUTF8": "1",
    "PYTHONIOENCODING": "utf-8:backslashreplace",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}


def launch(plan: Mapping[str, bool], limits: Mapping[str, float], job: Mapping[str, Any]) -> dict[str, Any]:
    """Runs one job in processes of its own and removes everything that it leaves. Threads may call it at the same time.

    Args:
        plan: which layers confine it: `namespaces`, `user`, `landlock`, `seccomp`.
        limits: the fields of `Limits`.
        job: `solution`, `setup`, `given`, `exports`, `test`.

    Returns:
        The report of `inside/supervisor.py`.

    Raises:
        RunError: no report came, which no program can bring about.
    """
    folder = tempfile.mkdtemp(prefix="genjax-")  # with the eight letters after it, also the processes' name
    try:
        home = FOLDER if plan["namespaces"] else folder
        order = {"plan": plan, "limits": limits, "folder": folder, "environment": {"HOME": home, "TMPDIR": home}, **_places()}
        content = json.dumps(order).encode()
        content = len(content).to_bytes(4, "big") + content + json.dumps(job).encode()
        return json.loads(_exchange(content, limits["timeout"] + GRACE))
    except (OSError, ValueError) as error:
        raise RunError(f"the sandbox did not report: {error}.") from error
    finally:
        _clear(folder)


def _exchange(content: bytes, seconds: float) -> bytes:
    """What a new supervisor answers. If the wait ends before, it sees its report unread and ends all that it started."""
    end = time.monotonic() + seconds
    (order, writing), (reading, report) = os.pipe(), os.pipe()
    try:
        try:
            _server().send([order, report])
        finally:
            os.close(order)
            os.close(report)
        os.set_blocking(writing, False)
        poll = select.poll()
        poll.register(writing, select.POLLOUT)
        poll.register(reading, select.POLLIN)
        answer = b""
        while left := max(0, math.ceil(1000 * (end - time.monotonic()))):
            ready = dict(poll.poll(left))
            if writing in ready:
                try:
                    content = content[os.write(writing, content[: 1 << 16]) :]
                except BrokenPipeError:  # it was refused, and says so
                    content = b""
                if not content:
                    poll.unregister(writing)
                    os.close(writing)
                    writing = -1
            if reading in ready:
                part = os.read(reading, 1 << 16)
                if not part:
                    return answer
                answer += part
        raise TimeoutError(f"nothing for {seconds:g} s")
    finally:
        os.close(reading)
        if writing >= 0:
            os.close(writing)


class _Server:
    """The process that supervisors are forked from; it ends when this one does."""

    def __init__(self):
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        code = START.format(folder=str(Path(__file__).parent), control=theirs.fileno())
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-s", "-S", "-u", "-c", code],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env=ENVIRONMENT,
            pass_fds=[theirs.fileno()],
            start_new_session=True,  # the terminal's Ctrl-C is for the caller, who ends this in turn
        )
        theirs.close()
        atexit.register(self.close)

    def send(self, descriptors: list[int]) -> None:
        socket.send_fds(self._control, [b"x"], descriptors)

    def alive(self) -> bool:
        return self._process.poll() is None

    def close(self) -> None:
        self._control.close()
        self._process.wait()


_servers: list[_Server] = []
_starting = threading.Lock()


def _server() -> _Server:
    with _starting:
        if not _servers or not _servers[-1].alive():
            _servers[:] = [_Server()]
        return _servers[-1]


@cache
def _places() -> dict[str, list[str]]:
    """`visible`: folders that a program may read, which is Python and shared libraries; `path`: of installed packages."""
    packages = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    path = sorted(folder for folder in packages if os.path.isdir(folder))
    python = [sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"), sysconfig.get_config_var("DESTSHARED")]
    wanted = {folder for folder in (*LIBRARIES, *python, *path) if folder and os.path.isdir(folder)}
    links = {folder for folder in wanted if os.path.islink(folder)}
    below = {folder for folder in wanted if any(folder.startswith(other + "/") for other in wanted - links)}
    return {"visible": sorted(wanted - below), "path": path}


def _clear(folder: str) -> None:
    """Removes a job's folder; after an interruption its processes need a moment to be gone from it."""
    for _ in range(40):
        try:
            return remove_tree(folder)
        except OSError:
            time.sleep(0.05)


def remove_tree(folder: str) -> None:
    """Removes a folder however deep and by whatever means a program built it, following no link and without recursion.

    Nothing may still be at work in it.
    """
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
    here = os.open(folder, flags)
    stack = [(folder, os.listdir(here))]  # from the folder down to `here`: the name and what is left in it
    while True:
        name, left = stack[-1]
        if left:
            child = left.pop()
            try:
                os.unlink(child, dir_fd=here)
            except IsADirectoryError:
                os.chmod(child, 0o700, dir_fd=here)
                inner = os.open(child, flags, dir_fd=here)
                os.close(here)
                here = inner
                stack.append((child, os.listdir(here)))
            continue
        stack.pop()
        if not stack:
            break
        above = os.open("..", flags, dir_fd=here)
        os.close(here)
        here = above
        os.rmdir(name, dir_fd=here)
    os.close(here)
    os.rmdir(folder)
