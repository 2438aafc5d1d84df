"""What this machine can put between a program and everything else, and what it must before anything runs."""

import dataclasses
import os
import sys
from dataclasses import dataclass
from functools import cache

from genjax.errors import RunError
from genjax.evaluation.code import launch
from genjax.evaluation.code.inside.namespaces import spare_users

PROBE = {"solution": "import typing, json, random\ndef one():\n    return 1", "setup": "", "given": "", "exports": ["one"]}
PROBE_LIMITS = {
    "timeout": 20.0,
    "memory": 1 << 30,
    "processes": 8,
    "open_files": 64,
    "file_size": 1 << 20,
    "output": 1 << 20,
    "storage": 1 << 20,
}


@dataclass(frozen=True)
class Isolation:
    """Layers that confine a program, from the kernel.

    Attributes:
        namespaces: users, processes, network, mounts, IPC and host name of its own.
        user: a user id that nobody else has; only root can give one.
        landlock: a filter of paths.
        seccomp: a filter of system calls.
        bounded: whether the kernel counts the processes of whom programs run as; it does not count root's.
        refused: what the kernel said to each layer that it does not give.
    """

    namespaces: bool = False
    user: bool = False
    landlock: bool = False
    seccomp: bool = False
    bounded: bool = True
    refused: tuple[str, ...] = ()

    @property
    def plan(self) -> dict[str, bool]:
        return {name: getattr(self, name) for name in ("namespaces", "user", "landlock", "seccomp")}

    @property
    def missing(self) -> tuple[str, ...]:
        """What is required and not provided, in words."""
        needs = {
            "no network": self.namespaces or self.seccomp,
            "no change to files outside its folder": self.namespaces or self.user or self.landlock,
            "no access to other processes": self.namespaces or self.user or (self.landlock and self.seccomp),
            "nothing left running": self.namespaces or self.user or self.seccomp,
            "a limit on processes": self.bounded,
        }
        return tuple(need for need, provided in needs.items() if not provided)


def permit(allow_execution: bool, force: bool = False) -> Isolation:
    """The isolation that programs will run in, if they may run at all.

    Raises:
        RunError: not allowed by the caller, or by what this machine cannot provide and `force` does not waive.
    """
    if not allow_execution:
        raise RunError(
            "evaluating code runs programs that nobody has read; none was run. Allow it with --allow_execution "
            "(allow_execution=True); python -m genjax.evaluation.code --isolation says what would keep them apart here."
        )
    isolation = probe()
    if isolation.missing and not force:
        raise RunError(
            f"this machine cannot provide what running unknown programs requires: {', '.join(isolation.missing)} "
            f"(refused: {'; '.join(isolation.refused)}). Run on a kernel that allows user namespaces, or as root, or in a "
            "virtual machine of its own with --force (force=True), which runs them all the same."
        )
    return isolation


@cache
def probe() -> Isolation:
    """The strongest isolation that runs a program here, found by trying.

    Raises:
        RunError: not Linux, or not even an unconfined program runs.
    """
    if sys.platform != "linux":
        raise RunError(f"programs are confined by means of Linux, and this is {sys.platform}; use a Linux machine or container.")
    user, root = spare_users() is not None, os.geteuid() == 0
    refused: list[str] = []
    for seccomp in (True, False):
        confined = Isolation(namespaces=True, user=user, seccomp=seccomp, bounded=user or not root)
        refusal = _try(confined)
        if not refusal:
            return dataclasses.replace(confined, refused=tuple(refused))
        refused += [refusal] if refusal not in refused else []
    found = Isolation()
    for layer in ("user", "landlock", "seccomp"):
        if layer == "user" and not user:
            continue
        wider = dataclasses.replace(found, **{layer: True})
        refusal = _try(wider)
        found = found if refusal else wider
        refused += [refusal] if refusal and refusal not in refused else []
    if root and not found.user and not (found.landlock and found.seccomp):
        raise RunError(
            f"programs would run as root, unconfined (refused: {'; '.join(refused)}); run as another user or allow setuid."
        )
    if found == Isolation() and (refusal := _try(found)):
        raise RunError(f"no program can be run here: {refusal}.")
    return dataclasses.replace(found, bounded=found.user or not root, refused=tuple(refused))


def _try(isolation: Isolation) -> str:
    """What stands against running a program in this isolation; empty if nothing does."""
    report = launch.launch(isolation.plan, PROBE_LIMITS, PROBE | {"test": "assert one() == 1"})
    return report.get("refused") or ("" if report["passed"] else report["reason"])


def describe_isolation(isolation: Isolation | None = None) -> str:
    """One sentence that says what is and what is not kept apart here."""
    isolation = isolation or probe()
    processes = "processes, " if isolation.bounded else ""
    limits = f"with limits on time, memory, {processes}files and output, and is killed with all that it started"
    if isolation.namespaces:
        return (
            "Each program runs in user, process, network, mount, IPC and host-name namespaces of its own, "
            f"{'as a user that nobody else is, ' if isolation.user else ''}"
            f"{'without dangerous system calls, ' if isolation.seccomp else ''}{limits}: it sees a read-only Python, an empty "
            "temporary folder in memory, no network and no other process; not kept apart are the kernel and the machine's speed."
        )
    apart, shared = [], ["the kernel", "the machine's speed"]
    (apart if isolation.seccomp else shared).append("the network")
    if isolation.landlock:
        apart.append("every file but a read-only Python and its own folder")
    elif isolation.user:
        apart.append("other users' files")
        shared.append("what everyone may read or write")
    else:
        shared.append("your files")
    reached = isolation.user or (isolation.landlock and isolation.seccomp)
    (apart if reached else shared).append("other processes' memory and signals")
    refused = "; ".join(isolation.refused) or "not asked for"
    return (
        f"There are no namespaces here ({refused}): each program runs {'as a user of its own' if isolation.user else 'as you'}, "
        f"{limits}; kept apart from it are {_list(apart) or 'nothing else'}; not kept apart are {_list(shared)}."
    )


def _list(words: list[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
