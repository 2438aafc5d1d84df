"""Starts a sandboxed process and brings back what it reports."""

import json
import os
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from genjax.errors import RunError
from genjax.evaluation.code.inside.namespaces import FOLDER

START = "import sys; sys.path.insert(0, {folder!r}); from inside import supervisor; del sys.path[0]; supervisor.main()"
GRACE = 20.0  # seconds beyond the limit, for starting and clearing up on a busy machine
LIBRARIES = ("/lib", "/lib32", "/lib64", "/usr/lib", "/usr/lib32", "/usr/lib64")
# All of the environment that a program sees: hashing without a seed, so that a result can be repeated, and one thread for
# libraries that would start one a core.
ENVIRONMENT = {
    "PYTHONHASHSEED": "0",
    "PYTHONUTF8": "1",
    "PYTHONIOENCODING": "utf-8:backslashreplace",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}


def launch(plan: Mapping[str, bool], limits: Mapping[str, float], job: Mapping[str, Any]) -> dict[str, Any]:
    """Runs one job in a process of its own and removes everything that it leaves.

    Args:
        plan: which layers confine it: `namespaces`, `user`, `landlock`, `seccomp`.
        limits: the fields of `Limits`.
        job: `solution`, `setup`, `given`, `exports`, `test`.

    Returns:
        The report of `inside/supervisor.py`.

    Raises:
        RunError: the supervisor itself failed, which no program can bring about.
    """
    folder = tempfile.mkdtemp(prefix="genjax-sandbox-")
    try:
        order = json.dumps({"plan": plan, "limits": limits, "folder": folder, **_places()}).encode()
        content = len(order).to_bytes(4, "big") + order + json.dumps(job).encode()
        home = FOLDER if plan["namespaces"] else folder
        process = subprocess.Popen(
            [sys.executable, "-P", "-s", "-S", "-u", "-c", START.format(folder=str(Path(__file__).parent)), folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd="/",
            env=ENVIRONMENT | {"HOME": home, "TMPDIR": home},
            start_new_session=True,  # the terminal's Ctrl-C is for the caller, who ends this in turn
        )
        try:
            said, complaint = process.communicate(content, timeout=limits["timeout"] + GRACE)
        finally:
            process.kill()  # what is inside dies with it
            process.wait()
        return json.loads(said)
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        raise RunError(f"the sandbox did not report: {error}") from error
    finally:
        remove_tree(folder)


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
