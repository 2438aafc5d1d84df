"""Kernel calls that Python 3.11 has no function for. A failure is an OSError that names the call."""

import ctypes
import os
import struct

# <linux/prctl.h>
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_NAME, PR_SET_SECCOMP, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 1, 4, 15, 22, 36, 38
# <linux/sched.h>
CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC = 0x00020000, 0x02000000, 0x04000000, 0x08000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET, CLONE_NEWTIME = 0x10000000, 0x20000000, 0x40000000, 0x00000080
# <linux/mount.h>
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 2, 4, 8, 32, 4096, 16384, 1 << 18
MNT_DETACH = 2
# Numbers of calls that the C library has no name for; the last four are the same on every architecture.
PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
MOUNT_SETATTR, LANDLOCK_CREATE_RULESET, LANDLOCK_ADD_RULE, LANDLOCK_RESTRICT_SELF = 442, 444, 445, 446
AT_FDCWD, AT_RECURSIVE = -100, 0x8000
CAPABILITY_VERSION = 0x20080522

_libc = ctypes.CDLL(None, use_errno=True)


def call(name: str, *arguments: int | bytes | None) -> int:
    """The result of a function of the C library; integers, bytes and None as arguments."""
    function = getattr(_libc, name)
    function.restype = ctypes.c_long if name == "syscall" else ctypes.c_int
    result = function(*[ctypes.c_long(a) if isinstance(a, int) else a for a in arguments])
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), name)
    return result


def explain(error: BaseException) -> str:
    """What a call said, without its number."""
    if not isinstance(error, OSError) or not error.strerror:
        return str(error) or repr(error)
    return f"{error.filename}: {error.strerror}" if error.filename else error.strerror


def prctl(option: int, value: int | bytes, *rest: bytes) -> None:
    call("prctl", option, value, *(rest or (0,)), 0, 0)


def unshare(flags: int) -> None:
    call("unshare", flags)


def mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    call("mount", source.encode(), target.encode(), kind.encode(), flags, options.encode())


def set_mount_attributes(target: str, attributes: int) -> None:
    """Sets MS_RDONLY, MS_NOSUID, MS_NODEV (the same numbers here) on a mount and everything mounted below it. Linux 5.12."""
    packed = struct.pack("QQQQ", attributes, 0, 0, 0)
    call("syscall", MOUNT_SETATTR, AT_FDCWD, target.encode(), AT_RECURSIVE, packed, len(packed))


def make_root(folder: str) -> None:
    """Makes a mount point the root of this mount namespace and forgets the old root."""
    os.chdir(folder)
    call("syscall", PIVOT_ROOT[os.uname().machine], b".", b".")
    call("umount2", b".", MNT_DETACH)
    os.chdir("/")


def drop_capabilities() -> None:
    """Gives up every capability of this process, for good where no_new_privs is set."""
    call("capset", struct.pack("II", CAPABILITY_VERSION, 0), bytes(24))
