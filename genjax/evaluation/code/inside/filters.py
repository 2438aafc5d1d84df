"""Two filters that need no privileges: of system calls (seccomp) and of paths (Landlock)."""

import ctypes
import os
import struct
from collections.abc import Iterable

from . import kernel

# Columns: x86_64, aarch64 (None: not there). What a program that computes has no business with, whatever else confines it.
NEVER = {
    # other machines, other processes' memory
    "socket": (41, 198), "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "kcmp": (312, 272), "pidfd_open": (434, 434), "pidfd_getfd": (438, 438), "process_madvise": (440, 440),
    # mounts and namespaces
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51), "open_tree": (428, 428),
    "move_mount": (429, 429), "fsopen": (430, 430), "fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433),
    "mount_setattr": (442, 442), "unshare": (272, 97), "setns": (308, 268),
    # the machine itself
    "swapon": (167, 224), "swapoff": (168, 225), "reboot": (169, 142), "kexec_load": (246, 104), "kexec_file_load": (320, 294),
    "init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106), "settimeofday": (164, 170),
    "clock_settime": (227, 112), "adjtimex": (159, 171), "clock_adjtime": (305, 266), "sethostname": (170, 161),
    "setdomainname": (171, 162), "iopl": (172, None), "ioperm": (173, None), "acct": (163, 89), "quotactl": (179, 60),
    "syslog": (103, 116), "vhangup": (153, 58),
    # parts of the kernel where its faults have been
    "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282), "keyctl": (250, 219), "add_key": (248, 217),
    "request_key": (249, 218), "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
    "personality": (135, 92), "modify_ldt": (154, None), "open_by_handle_at": (304, 265), "name_to_handle_at": (303, 264),
    "fanotify_init": (300, 262),
    # memory that no limit counts
    "shmget": (29, 194), "msgget": (68, 186), "semget": (64, 190), "mq_open": (240, 180), "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
}  # fmt: skip
# Where no process namespace hides the others: signals, leaving the group that will be killed, others' limits and priorities,
# and attributes of files, which Landlock does not guard.
SHARED = {
    "kill": (62, 129), "tkill": (200, 130), "tgkill": (234, 131), "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240),
    "pidfd_send_signal": (424, 424), "setsid": (112, 157), "setpgid": (109, 154), "setpriority": (141, 140),
    "ioprio_set": (251, 30), "sched_setaffinity": (203, 122), "chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53),
    "fchmodat2": (452, 452), "chown": (92, None), "fchown": (93, 55), "lchown": (94, None), "fchownat": (260, 54),
    "utime": (132, None), "utimes": (235, None), "futimesat": (261, None), "utimensat": (280, 88), "setxattr": (188, 5),
    "lsetxattr": (189, 6), "fsetxattr": (190, 7), "removexattr": (197, 14), "lremovexattr": (198, 15), "fremovexattr": (199, 16),
    "setxattrat": (463, 463), "removexattrat": (466, 466), "file_setattr": (469, 469),
}  # fmt: skip
ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}  # column, AUDIT_ARCH_*
CLONE, CLONE3, PRLIMIT, FCNTL = (56, 220), (435, 435), (302, 261), (72, 25)
NEW_NAMESPACES = (
    kernel.CLONE_NEWNS | kernel.CLONE_NEWCGROUP | kernel.CLONE_NEWUTS | kernel.CLONE_NEWIPC
    | kernel.CLONE_NEWUSER | kernel.CLONE_NEWPID | kernel.CLONE_NEWNET
)  # fmt: skip
X32 = 0x40000000  # calls of the x32 ABI have this bit, and would pass under other numbers
SIGNAL_OWNERS = (8, 10, 15)  # F_SETOWN, F_SETSIG, F_SETOWN_EX: a way to signal others
EPERM, ENOSYS = 1, 38
ALLOW, ERRNO, KILL = 0x7FFF0000, 0x00050000, 0x80000000
LOAD, EQUAL, AT_LEAST, ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06  # classic BPF
NUMBER, ARCHITECTURE, FIRST, SECOND = 0, 4, 16, 24  # offsets in struct seccomp_data (arguments: their lower halves)

FULL_LANDLOCK = 3  # the first version that guards truncation; Linux 6.2
READ_FILE, READ_DIRECTORY, WRITE_FILE, TRUNCATE = 1 << 2, 1 << 3, 1 << 1, 1 << 14
EVERYTHING = (1 << 15) - 1
IN_OWN_FOLDER = EVERYTHING & ~(1 << 0 | 1 << 6 | 1 << 11)  # all but running files and making devices


def seccomp_program(shared: bool) -> bytes:
    """The filter as an array of struct sock_filter; `shared`: other processes are in sight.

    Raises:
        OSError: an architecture whose numbers are not listed here.
    """
    machine = os.uname().machine
    if machine not in ARCHITECTURES:
        raise OSError(ENOSYS, f"seccomp: the numbers of system calls on {machine} are not known")
    column, architecture = ARCHITECTURES[machine]
    refuse = (RETURN, 0, 0, ERRNO | EPERM)
    program = [(LOAD, 0, 0, ARCHITECTURE), (EQUAL, 1, 0, architecture), (RETURN, 0, 0, KILL), (LOAD, 0, 0, NUMBER)]
    if column == 0:
        program += [(AT_LEAST, 0, 1, X32), (RETURN, 0, 0, KILL)]
    # The flags of clone3 lie in memory, which a filter cannot read; without it, libraries use clone.
    program += [(EQUAL, 0, 1, CLONE3[column]), (RETURN, 0, 0, ERRNO | ENOSYS)]
    program += [(EQUAL, 0, 4, CLONE[column]), (LOAD, 0, 0, FIRST), (ANY_BIT, 0, 1, NEW_NAMESPACES), refuse, (RETURN, 0, 0, ALLOW)]
    if shared:
        program += [(EQUAL, 0, 4, PRLIMIT[column]), (LOAD, 0, 0, FIRST), (EQUAL, 1, 0, 0), refuse, (RETURN, 0, 0, ALLOW)]
        owners = [test for command in SIGNAL_OWNERS for test in ((EQUAL, 0, 1, command), refuse)]
        program += [(EQUAL, 0, 2 + len(owners), FCNTL[column]), (LOAD, 0, 0, SECOND), *owners, (RETURN, 0, 0, ALLOW)]
    for numbers in (NEVER | SHARED if shared else NEVER).values():
        if numbers[column] is not None:
            program += [(EQUAL, 0, 1, numbers[column]), refuse]
    program.append((RETURN, 0, 0, ALLOW))
    return b"".join(struct.pack("HBBI", *instruction) for instruction in program)


def filter_system_calls(shared: bool) -> None:
    """From here on, this process and its children get EPERM for the calls above. Needs no_new_privs."""
    program = seccomp_program(shared)
    buffer = ctypes.create_string_buffer(program, len(program))
    head = struct.pack("HxxxxxxQ", len(program) // 8, ctypes.addressof(buffer))
    kernel.prctl(kernel.PR_SET_SECCOMP, 2, head)


def landlock_version() -> int:
    """Of this kernel; 0 without Landlock."""
    try:
        return kernel.call("syscall", kernel.LANDLOCK_CREATE_RULESET, None, 0, 1)
    except OSError:
        return 0


def open_ruleset(visible: Iterable[str], own_folder: str) -> int:
    """A Landlock ruleset: `visible` may be read, `own_folder` used, nothing else opened. A file descriptor for `enforce`."""
    if landlock_version() < FULL_LANDLOCK:
        raise OSError(ENOSYS, f"landlock: version {landlock_version()} does not guard every way to change a file")
    ruleset = kernel.call("syscall", kernel.LANDLOCK_CREATE_RULESET, struct.pack("Q", EVERYTHING), 8, 0)
    grants = [(path, READ_FILE | READ_DIRECTORY) for path in visible] + [(own_folder, IN_OWN_FOLDER)]
    grants += [(f"/dev/{name}", READ_FILE | WRITE_FILE | TRUNCATE) for name in ("null", "zero", "random", "urandom")]
    for path, access in grants:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        kernel.call("syscall", kernel.LANDLOCK_ADD_RULE, ruleset, 1, struct.pack("=Qi", access, descriptor), 0)
        os.close(descriptor)
    return ruleset


def enforce(ruleset: int) -> None:
    """From here on, this process and its children see the files of a ruleset alone. Needs no_new_privs."""
    kernel.call("syscall", kernel.LANDLOCK_RESTRICT_SELF, ruleset, 0)
    os.close(ruleset)
