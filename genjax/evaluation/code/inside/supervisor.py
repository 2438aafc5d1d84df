"""The process that stands outside: it prepares the confinement, keeps time, and ends everything when the verdict is in."""

import json
import math
import os
import select
import signal
import time
from collections.abc import Mapping
from typing import Any

from . import kernel, namespaces, tester

KEPT_OUTPUT = 4096  # bytes of what a program wrote, for its report
BETWEEN_LOOKS = 0.05  # seconds between two looks at a folder that no file system of its own confines


def main() -> None:
    """Reads an order from standard input (of `launch.py`), runs the job that follows it, writes a report to standard output.

    The report is a JSON object: `passed`, `reason`, `seconds`, `output`; or `refused`, a layer that this machine does not allow.
    """
    try:
        length = int.from_bytes(_read_exactly(4), "big")
        report = run(json.loads(_read_exactly(length)))  # and not a byte more is read: the rest is the tester's
    except Exception as error:
        report = {"refused": kernel.explain(error)}
    os.write(1, json.dumps(report).encode())


def run(order: Mapping[str, Any]) -> dict[str, Any]:
    """Confines itself, starts tester and program, waits, and ends everything that they started.

    Raises:
        OSError: a layer of the plan that this machine refuses.
    """
    plan, limits = order["plan"], order["limits"]
    os.umask(0o022)
    os.environ.update(order["environment"])
    kernel.prctl(kernel.PR_SET_NAME, os.path.basename(order["folder"]).encode())
    if plan["namespaces"]:
        kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)  # should the caller be killed, the kernel clears up
    with open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")  # where memory runs out, these processes go first
    users = namespaces.spare_users() if plan["user"] else None
    if plan["user"] and users is None:
        raise OSError(1, "setuid: there is no other user that this process may become")
    if plan["namespaces"]:
        users = namespaces.enter(users)
        namespaces.build_root(order["folder"], order["visible"], limits["storage"])
        order = {**order, "folder": namespaces.FOLDER}
    else:
        kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
        if users:
            os.chown(order["folder"], users[1], users[1])
        else:  # the kernel will count what else this user runs
            order = {**order, "limits": {**limits, "processes": limits["processes"] + _running(os.getuid())}}
    output, program_output = os.pipe()
    verdict, tester_verdict = os.pipe()
    start = time.monotonic()
    process = os.fork()
    if process == 0:
        tester.main(order, users, tester_verdict, program_output)
    for descriptor in (program_output, tester_verdict, 0):
        os.close(descriptor)
    try:
        folder = None if plan["namespaces"] else order["folder"]  # there, the folder's own file system has a size
        return {**_watch(verdict, output, start, limits, folder), "seconds": time.monotonic() - start}
    finally:
        if plan["namespaces"]:
            os.kill(process, signal.SIGKILL)  # with the first of a process namespace the kernel ends them all
            os.waitpid(process, 0)
        else:
            _end_all(process, users)


def _watch(verdict: int, output: int, start: float, limits: Mapping[str, Any], folder: str | None) -> dict[str, Any]:
    """Waits for the verdict, for the end of the time, for more output or files than are allowed, or for the end of the caller."""
    said, kept, written = b"", b"", 0
    poll = select.poll()
    poll.register(verdict, select.POLLIN)
    poll.register(output, select.POLLIN)
    poll.register(1, 0)  # an error on it: nobody waits for the report any more

    def failure(reason: str) -> dict[str, Any]:
        return {"passed": False, "reason": reason, "output": kept.decode("utf-8", "replace")}

    while (left := start + limits["timeout"] - time.monotonic()) > 0:
        ready = dict(poll.poll(math.ceil(1000 * (min(left, BETWEEN_LOOKS) if folder else left))))
        if folder and _size(folder) > limits["storage"]:
            return failure(f"wrote files of more than {limits['storage']} bytes")
        if 1 in ready:
            return failure("the caller has gone")
        if output in ready:
            part = os.read(output, 1 << 16)
            written += len(part)
            kept += part[: KEPT_OUTPUT - len(kept)]
            if not part:
                poll.unregister(output)
            if written > limits["output"]:
                return failure(f"wrote more than {limits['output']} bytes of output")
        if verdict in ready:
            part = os.read(verdict, 1 << 16)
            said += part
            if not part:
                return failure("the tester's process was ended") | (json.loads(said) if said else {})
    return failure("timed out")


def _end_all(process: int, users: tuple[int, int] | None) -> None:
    """Without a process namespace: kills until no child is left. Orphans become children of this process, whatever they did."""
    while True:
        for user in users or ():
            _kill_user(user)
        try:
            os.killpg(process, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass
        for child in _children():
            os.kill(child, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(0.001)


def _kill_user(user: int) -> None:
    """Kills every process of a user at once: no fork can slip through between two looks at a list."""
    process = os.fork()
    if process == 0:
        try:
            os.setresuid(user, user, user)
            os.kill(-1, signal.SIGKILL)
        finally:
            os._exit(0)
    os.waitpid(process, 0)


def _children() -> list[int]:
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat") as file:
                    parent = int(file.read().rpartition(")")[2].split()[1])
            except OSError:
                continue
            if parent == os.getpid():
                found.append(int(name))
    return found


def _size(folder: str) -> float:
    """Bytes below a folder; infinity for one that nobody needs, with too many files or too deep."""
    size, count = 0, 0
    try:
        for _, folders, files, descriptor in os.fwalk(folder):
            for name in (*folders, *files):
                try:
                    size += 512 * os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_blocks
                except FileNotFoundError:  # the program is at work on it
                    continue
            count += len(folders) + len(files)
            if count > namespaces.NODES:
                return math.inf
    except FileNotFoundError:
        return size
    except (OSError, RecursionError):
        return math.inf
    return size


def _running(user: int) -> int:
    """Processes and threads of a user."""
    count = 0
    for name in os.listdir("/proc"):
        try:
            if name.isdigit() and os.stat(f"/proc/{name}").st_uid == user:
                count += len(os.listdir(f"/proc/{name}/task"))
        except OSError:  # it has just ended
            continue
    return count


def _read_exactly(length: int) -> bytes:
    content = b""
    while len(content) < length:
        part = os.read(0, length - len(content))
        if not part:
            raise OSError("the order ended early")
        content += part
    return content
