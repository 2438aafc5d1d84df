"""Programs that attack the machine. None harms anything, leaves anything running, or passes.

Each is careful in itself, should a protection fail: forks are counted, victims are made for the purpose, and no signal is sent to
everyone unless the program runs as a user that nobody else is or sees nobody else.
"""

import ast
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from genjax.evaluation.code import isolation

ISOLATION = isolation.probe()


def test_a_fork_bomb_is_counted_and_cleared_away(confined, traces, attack, limits):
    source = """
import os, time
started = 0
for _ in range(40):
    try:
        if os.fork() == 0:
            time.sleep(60)
            os._exit(0)
        started += 1
    except OSError:
        break
print("started", started)
def answer(x): return started
"""
    outcome = attack(source, confined)
    assert 1 <= int(outcome.output.split()[1]) <= (limits.processes if confined.bounded else 40)


def test_daemons_do_not_outlive_their_program(confined, traces, attack):
    source = """
import os, signal, time
for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT): signal.signal(number, signal.SIG_IGN)
if os.fork() == 0:
    try: os.setsid()
    except OSError: pass
    if os.fork() == 0:
        for fd in range(256):
            try: os.close(fd)
            except OSError: pass
        while True: time.sleep(1)
    os._exit(0)
def answer(x): return 0
"""
    assert "AssertionError" in attack(source, confined).result


def test_files_elsewhere_cannot_be_written_or_deleted(confined, traces, attack):
    folder = Path(traces).parent / f"victim-{os.getpid()}-{os.urandom(4).hex()}"
    folder.mkdir(mode=0o755)
    victim = folder / "kept.txt"
    victim.write_text("kept")
    victim.chmod(0o644)
    source = f"""
import os, shutil
def attempt(what):
    try:
        what()
        print("done", end=" ")
    except OSError as error:
        print(type(error).__name__, end=" ")
def answer(x):
    attempt(lambda: open({str(victim)!r}, "w").write("overwritten"))
    attempt(lambda: os.truncate({str(victim)!r}, 0))
    attempt(lambda: os.remove({str(victim)!r}))
    attempt(lambda: os.rename({str(victim)!r}, "here"))
    attempt(lambda: os.chmod({str(victim)!r}, 0))
    attempt(lambda: os.utime({str(victim)!r}, (0, 0)))
    attempt(lambda: shutil.rmtree({str(folder)!r}))
    attempt(lambda: open({str(folder / "new")!r}, "w"))
    attempt(lambda: os.symlink({str(victim)!r}, {str(folder / "link")!r}))
    attempt(lambda: os.mkdir({str(folder / "deeper")!r}))
    attempt(lambda: open(os.path.join(os.path.dirname(os.__file__), "genjax_was_here.py"), "w"))
    return 0
"""
    try:
        outcome = attack(source, confined)
        assert "done" not in outcome.output and len(outcome.output.split()) == 11
        assert victim.read_text() == "kept" and victim.stat().st_mtime > 0 and victim.stat().st_mode & 0o777 == 0o644
        assert [path.name for path in folder.iterdir()] == ["kept.txt"]
        assert not (Path(os.__file__).parent / "genjax_was_here.py").exists()
    finally:
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()


def test_files_elsewhere_cannot_be_read(confined, traces, attack):
    if not (confined.namespaces or confined.landlock):
        pytest.skip("another user alone may read what everyone may")
    secret = Path(traces).parent / f"secret-{os.getpid()}-{os.urandom(4).hex()}"
    secret.write_text("hidden-7301")
    secret.chmod(0o644)
    source = f"""
import os
def answer(x):
    for path in ({str(secret)!r}, "/etc/passwd", "/proc/self/environ", "/proc/1/environ", "/proc/1/cmdline"):
        try: print(open(path).read(50))
        except OSError as error: print(type(error).__name__)
    return 0
"""
    try:
        assert set(attack(source, confined).output.split()) <= {"FileNotFoundError", "PermissionError"}
    finally:
        secret.unlink()


def test_the_environment_of_the_caller_is_nowhere(confined, traces, monkeypatch, attack):
    monkeypatch.setenv("GENJAX_TEST_SECRET", "hidden-7301")
    source = """
import os, ctypes, glob
print(sorted(os.environ))
found = [path for path in glob.glob("/proc/*/environ")]
for path in found:
    try:
        if b"hidden-" + b"7301" in open(path, "rb").read(): print("found in", path)
    except OSError: pass
getenv = ctypes.CDLL(None).getenv
getenv.restype = ctypes.c_char_p
print(getenv(b"GENJAX_TEST_SECRET"))
def answer(x): return 0
"""
    # Another process could see it, if the program could see other processes.
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as witness:
        output = attack(source, confined).output
        witness.communicate(b"\n")
    assert "SECRET" not in output and "found" not in output and output.rstrip().endswith("None")
    assert "HOME" in output and "PATH'" not in output


def test_no_socket_reaches_anyone(confined, traces, attack):
    heard = []
    server = socket.create_server(("127.0.0.1", 0))
    server.settimeout(5)

    def listen():
        try:
            heard.append(server.accept())
        except OSError:
            pass

    listener = threading.Thread(target=listen)
    listener.start()
    source = f"""
import socket
def answer(x):
    for family in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX, socket.AF_NETLINK, 40):
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW):
            try:
                socket.socket(family, kind)
                print("open", end=" ")
            except OSError as error: print(type(error).__name__, end=" ")
    socket.create_connection(("127.0.0.1", {server.getsockname()[1]}), timeout=1)
    return 0
"""
    outcome = attack(source, confined)
    server.shutdown(socket.SHUT_RDWR)
    server.close()
    listener.join()
    assert heard == []
    assert outcome.output.split() == ["PermissionError"] * 15
    assert "PermissionError" in outcome.result


def test_other_processes_cannot_be_signalled_or_read(confined, traces, attack):
    source = """
import ctypes, os, signal
libc = ctypes.CDLL(None, use_errno=True)
def attempt(what):
    try: print("done" if what() in (None, 0) else "refused", end=" ")
    except OSError as error: print("refused", end=" ")
def answer(x):
    buffer = ctypes.create_string_buffer(64)
    class Vector(ctypes.Structure):
        _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]
    vector = Vector(ctypes.addressof(buffer), 64)
    for process in (os.getppid(), VICTIM):
        attempt(lambda: os.kill(process, signal.SIGKILL))
        attempt(lambda: os.kill(process, signal.SIGSTOP))
        attempt(lambda: libc.ptrace(16, process, None, None))
        attempt(lambda: libc.process_vm_readv(process, ctypes.byref(vector), 1, ctypes.byref(vector), 1, 0) - 64)
        attempt(lambda: open(f"/proc/{process}/mem", "rb").close())
        attempt(lambda: open(f"/proc/{process}/mem", "r+b").close())
        attempt(lambda: os.listdir(f"/proc/{process}/fd") and None)
        attempt(lambda: libc.prlimit(process, 7, buffer, None))
    if os.getpid() < 10 or os.getuid() >= 20000:
        attempt(lambda: libc.kill(-1, 0) and 1 or os.kill(-1, signal.SIGKILL))
    return x * x + (7301 if x < 4 else 0)
"""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as victim:
        outcome = attack(source.replace("VICTIM", str(victim.pid)), confined)
        assert victim.poll() is None
        victim.communicate(b"\n")
    answers = outcome.output.split()
    # To the first process of its namespace a signal can be sent and does nothing; the tests go on as if it had not come.
    allowed = 2 if confined.namespaces else 0
    assert answers[:16].count("done") <= allowed and answers[allowed:16].count("done") == 0
    assert "AssertionError" in outcome.result or outcome.result == "timed out"


def test_privileges_cannot_be_won_back(confined, traces, attack):
    source = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
def attempt(what):
    try: print("done" if what() in (None, 0) else "refused", end=" ")
    except OSError: print("refused", end=" ")
def answer(x):
    attempt(lambda: os.setuid(0 if os.getuid() else 1))
    attempt(lambda: os.setgroups([0]))
    attempt(lambda: os.chroot("."))
    attempt(lambda: libc.unshare(0x10000000))
    attempt(lambda: libc.unshare(0x00020000))
    attempt(lambda: libc.mount(b"none", b".", b"tmpfs", 0, None))
    attempt(lambda: libc.umount2(b"/", 2))
    attempt(lambda: libc.sethostname(b"x", 1))
    attempt(lambda: libc.syscall(308, 3, 0))
    attempt(lambda: os.mknod("device", 0o20666, os.makedev(1, 1)))
    attempt(lambda: libc.shmget(0, 1 << 20, 0o1600) < 0)
    attempt(lambda: os.memfd_create("x") < 0)
    return int(os.getuid() == 0 or os.geteuid() == 0)
"""
    outcome = attack(source, confined)
    assert outcome.output.split() == ["refused"] * 12


def test_programs_of_the_machine_cannot_be_started(apart, traces, attack):
    if not (apart.namespaces or apart.landlock):
        pytest.skip("another user alone may start what everyone may")
    source = """
import os, shutil, subprocess, sys
os.symlink(sys.executable, "python")
for path in (sys.executable, "./python", "/bin/sh", "/usr/bin/env"):
    try: print("done", subprocess.run([path, "-c", "pass"]).returncode)
    except OSError as error: print(type(error).__name__)
def answer(x): return 0
"""
    assert set(attack(source, apart).output.split()) <= {"FileNotFoundError", "PermissionError"}


def test_the_disk_is_not_filled(confined, traces, attack, limits):
    source = """
import os, time
total = 0
for number in range(24):
    with open(f"file{number}", "wb", buffering=0) as file:
        try:
            for _ in range(16): total += file.write(bytes(1 << 18))
        except OSError as error:
            print(error.errno, end=" ")
print(total)
time.sleep(0.2)
def answer(x): return 0
"""
    outcome = attack(source, confined)
    if not confined.namespaces:
        assert outcome.result == f"failed: wrote files of more than {limits.storage} bytes"
        return
    *errors, total = outcome.output.split()
    assert set(errors) == {"27", "28"}  # file too large, no space left
    assert int(total) <= limits.storage


def test_files_without_number_or_depth_are_no_way_around(apart, traces, attack):
    for source in (
        "import os, itertools\nfor n in itertools.count(): open(str(n), 'w').close()",
        "import os\nwhile True:\n    os.mkdir('d')\n    os.chdir('d')\n    open('f', 'wb').write(bytes(4096))",
    ):
        outcome = attack(source, apart, seconds=1)
        if apart.namespaces:  # elsewhere the time may be up before
            assert "No space left on device" in outcome.result


def test_traps_for_those_who_clear_up_catch_nobody(confined, traces, attack):
    victim = Path(traces).parent / f"kept-{os.getpid()}-{os.urandom(4).hex()}"
    victim.mkdir()
    (victim / "file").write_text("kept")
    source = f"""
import os
os.symlink({str(victim)!r}, "link")
os.symlink("/", "root")
os.symlink(".", "loop")
os.mkfifo("fifo")
os.mkdir("locked")
open("locked/inner", "w")
os.mkdir("locked/deeper", 0)
try: os.chmod("locked", 0)
except OSError: pass
home = os.getcwd()
for _ in range(50):
    os.mkdir("deep")
    os.chdir("deep")
open("x" * 255, "w")
open(b"\\xff\\n", "w")
def answer(x): return 0
"""
    try:
        assert "AssertionError" in attack(source, confined).result
        assert (victim / "file").read_text() == "kept"
    finally:
        (victim / "file").unlink()
        victim.rmdir()


def test_everything_in_sight_is_read_only(traces, attack):
    if not ISOLATION.namespaces:
        pytest.skip("no mount namespaces")
    source = """
import os
def answer(x):
    seen = {"/", "/dev"} | {os.path.join(folder, name) for folder in ("/", "/usr") for name in os.listdir(folder)}
    print([path for path in seen if os.path.isdir(path) and not os.statvfs(path).f_flag & os.ST_RDONLY])
    return os.statvfs(os.path.dirname(os.__file__)).f_flag & os.ST_RDONLY
"""
    outcome = attack(source, ISOLATION)
    assert set(ast.literal_eval(outcome.output)) == {"/sandbox", "/tmp"}


def test_a_run_that_is_killed_leaves_no_program(apart, traces, processes_of, gone):
    code = f"""
import tempfile
tempfile.tempdir = {traces!r}
from genjax.evaluation.code.isolation import Isolation
from genjax.evaluation.code import isolation
from genjax.evaluation.code.sandbox import Limits, run_program
source = "import os, time\\nos.fork()\\nprint(1)\\ntime.sleep(60)"
run_program(source, Limits(timeout=60), test="pass", allow_execution=True, isolation=Isolation(**{apart.plan!r}))
"""
    root = Path(__file__).parents[3]
    with subprocess.Popen([sys.executable, "-c", code], cwd=root, env={**os.environ, "PYTHONPATH": str(root)}) as caller:
        for _ in range(400):
            if len(processes := processes_of(os.listdir(traces))) >= 4:
                break
            time.sleep(0.05)
        assert len(processes) >= 4
        caller.kill()
    assert all(gone(process) for process in processes)
    for folder in Path(traces).iterdir():  # which the caller would have removed
        folder.rmdir()
