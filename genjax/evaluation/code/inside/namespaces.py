"""Namespaces of its own for a process: users, processes, network, mounts, IPC, host name."""

import os
from collections.abc import Sequence

from . import kernel

ALL = (
    kernel.CLONE_NEWUSER | kernel.CLONE_NEWPID | kernel.CLONE_NEWNET | kernel.CLONE_NEWNS
    | kernel.CLONE_NEWIPC | kernel.CLONE_NEWUTS | kernel.CLONE_NEWCGROUP
)  # fmt: skip
DEVICES = ("null", "zero", "random", "urandom")
FOLDER = "/sandbox"  # the one place that a program may write to
NODES = 20_000  # files and folders that it may make there


def spare_users() -> tuple[int, int] | None:
    """Two user ids that nobody else has, for the tester and the program; None where this process may not take any."""
    if os.geteuid() != 0:
        return None
    with open("/proc/self/uid_map") as file:
        ranges = [tuple(map(int, line.split())) for line in file]
    # Process ids are unique among the living, and so are the user ids made from them.
    for first in (1_000_000 + 2 * os.getpid(), 20_000 + 2 * (os.getpid() % 10_000)):
        if any(start <= first and first + 1 < start + count for start, _, count in ranges):
            return first, first + 1
    return None


def enter(users: tuple[int, int] | None) -> tuple[int, int] | None:
    """Moves this process into new namespaces; its next child is the first process of the new process namespace.

    Returns:
        The ids of `users` (tester, program) inside. This process is root inside if `users` are given, else an id of no meaning.

    Raises:
        OSError: the kernel does not allow it.
    """
    own, group = os.geteuid(), os.getegid()
    reading, writing = os.pipe()
    helper = os.fork()
    if helper == 0:  # stays outside, where the ids of the new namespace may be given
        status = 1
        try:
            os.close(writing)
            if os.read(reading, 1):
                _give_ids(os.getppid(), own, group, users)
                status = 0
        finally:
            os._exit(status)
    try:
        kernel.unshare(ALL)
        os.write(writing, b"x")
    finally:
        os.close(writing)
        os.close(reading)
        _, status = os.waitpid(helper, 0)
    if status:
        raise OSError(1, "uid_map: the ids of a new user namespace may not be given")
    kernel.call("sethostname", b"sandbox", 7)
    return (1, 2) if users else None


def _give_ids(process: int, own: int, group: int, users: tuple[int, int] | None) -> None:
    if users is None:  # without privileges a user may only give their own
        _write(f"/proc/{process}/setgroups", "deny")
        _write(f"/proc/{process}/uid_map", f"65534 {own} 1")
        _write(f"/proc/{process}/gid_map", f"65534 {group} 1")
        return
    table = "".join(f"{inside} {outside} 1\n" for inside, outside in enumerate((0, *users)))
    _write(f"/proc/{process}/uid_map", table)
    _write(f"/proc/{process}/gid_map", table)


def _write(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def build_root(root: str, visible: Sequence[str], storage: int) -> None:
    """Makes `root` the file system of this mount namespace: `visible`, read-only, four devices and an empty folder `FOLDER`.

    Args:
        root: an existing empty folder to mount on.
        visible: paths that stay where they are; links stay links.
        storage: bytes that the folder may hold.

    `/tmp` is the folder too; where something visible lies below it (an environment made there), it is an empty one of its own.
    """
    sealed = kernel.MS_NOSUID | kernel.MS_NODEV
    options = f"size={storage},nr_inodes={NODES},mode=1777"
    kernel.mount("none", "/", "", kernel.MS_REC | kernel.MS_PRIVATE)
    kernel.mount("tmpfs", root, "tmpfs", sealed, "size=1m,mode=755")
    if any(path.startswith("/tmp/") for path in visible):
        os.mkdir(f"{root}/tmp")
        kernel.mount("tmpfs", f"{root}/tmp", "tmpfs", sealed | kernel.MS_NOEXEC, options)
    for path in visible:
        target = root + path
        if os.path.islink(path):
            os.makedirs(os.path.dirname(target), exist_ok=True)
            os.symlink(os.readlink(path), target)
            continue
        os.makedirs(target, exist_ok=True)
        kernel.mount(path, target, "", kernel.MS_BIND | kernel.MS_REC)
        kernel.set_mount_attributes(target, kernel.MS_RDONLY | sealed)
    os.mkdir(f"{root}/dev")
    for name in DEVICES:
        os.close(os.open(f"{root}/dev/{name}", os.O_CREAT | os.O_WRONLY))
        kernel.mount(f"/dev/{name}", f"{root}/dev/{name}", "", kernel.MS_BIND)
    os.mkdir(root + FOLDER)
    kernel.mount("tmpfs", root + FOLDER, "tmpfs", sealed | kernel.MS_NOEXEC, options)
    if not os.path.lexists(f"{root}/tmp"):
        os.symlink(FOLDER, f"{root}/tmp")
    kernel.make_root(root)
    kernel.mount("none", "/", "", kernel.MS_REMOUNT | kernel.MS_BIND | kernel.MS_RDONLY | sealed)
