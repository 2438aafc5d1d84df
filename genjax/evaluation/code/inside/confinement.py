"""What the tester and the program give up before they run anything."""

import math
import os
import resource
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from . import filters, kernel


def confine(order: Mapping[str, Any], user: int | None, *, hidden: bool) -> None:
    """Limits this process for good and gives up every privilege.

    Args:
        order: `plan` (which layers), `limits`, `visible` paths and `folder`, as `launch.py` writes it.
        user: the id to become, or None to stay who we are.
        hidden: keep other processes of the same user out of this one's memory (the tester's, from the program).

    Raises:
        OSError: a layer of the plan that this machine refuses.
    """
    plan = order["plan"]
    os.chdir(order["folder"])
    sys.path += order["path"]
    if plan["user"] and not plan["namespaces"]:
        _hold_imports(order["visible"])
    ruleset = filters.open_ruleset(order["visible"], order["folder"]) if plan["landlock"] else None
    _limit(order["limits"])
    if user is not None:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    kernel.drop_capabilities()
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)  # after the ids, whose change clears it
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0 if hidden else 1)
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    if ruleset is not None:
        filters.enforce(ruleset)
    if plan["seccomp"]:
        filters.filter_system_calls(shared=not (plan["namespaces"] or plan["user"]))


def _limit(limits: Mapping[str, Any]) -> None:
    seconds = math.ceil(limits["timeout"]) + 1  # the supervisor's clock is the limit; this one ends what escapes it
    for kind, value in (
        (resource.RLIMIT_AS, int(limits["memory"])),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_NPROC, limits["processes"]),
        (resource.RLIMIT_NOFILE, limits["open_files"]),
        (resource.RLIMIT_FSIZE, limits["file_size"]),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_MEMLOCK, 0),
        (resource.RLIMIT_MSGQUEUE, 0),
    ):
        _, most = resource.getrlimit(kind)
        value = value if most == resource.RLIM_INFINITY else min(value, most)
        resource.setrlimit(kind, (value, value))


def _hold_imports(visible: Sequence[str]) -> None:
    """Lets Python go on importing after it has become a user who may not enter the folders above it (such as /root).

    Folders that are held open can be read through /proc/self/fd whatever lies above them.
    """
    held = {path: f"/proc/self/fd/{os.open(path, os.O_PATH | os.O_DIRECTORY)}" for path in visible}

    def moved(path: str) -> str:
        above = [folder for folder in held if path == folder or path.startswith(folder + "/")]
        return held[max(above, key=len)] + path[len(max(above, key=len)) :] if above else path

    sys.path[:] = [moved(path) for path in sys.path]
    for module in list(sys.modules.values()):
        if hasattr(module, "__path__"):
            module.__path__ = [moved(path) for path in module.__path__]
    sys.path_importer_cache.clear()
