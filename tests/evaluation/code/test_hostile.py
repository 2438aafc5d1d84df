"""Programs that attack the machine or the verdict. None harms anything, leaves anything, or passes.

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
from genjax.evaluation.code.sandbox import Limits, run_program

ISOLATION = isolation.probe()
LIMITS = Limits(timeout=3, memory=256 << 20, processes=8, open_files=32, file_size=1 << 20, storage=4 << 20, output=1 << 20)
SHORT = Limits(**{**vars(LIMITS), "timeout": 0.3})
TEST = """
import random
for number in [3, 4, *(random.Random(7).randrange(10**9) for _ in range(3))]:
    assert answer(number) == number * number + 7301
"""


def attack(source, isolation, limits=LIMITS, test=TEST):
    outcome = run_program(source, limits, test=test, allow_execution=True, isolation=isolation)
    assert not outcome.passed
    return outcome


def test_the_answer_itself_passes(confined, traces):
    source = "def answer(x):\n    return x * x + 7301"
    assert run_program(source, LIMITS, test=TEST, allow_execution=True, isolation=confined).result == "passed"


# What ends early, prints, patches or forges. Each must fail for a reason of its own, and soon.
FORGERIES = {
    "os._exit before the asserts": ("import os\nos._exit(0)", "the program ended itself (exit status 0)"),
    "sys.exit before the asserts": ("import sys\nsys.exit(0)", "SystemExit"),
    "os._exit in the function": ("import os\ndef answer(x): os._exit(0)", "the program ended itself (exit status 0)"),
    "sys.exit in the function": ("import sys\ndef answer(x): sys.exit(0)", "SystemExit"),
    "an assertion error that hides": (
        "import builtins\nbuiltins.AssertionError = type('Quiet', (Exception,), {'__init__': lambda *a: None})\n"
        "def answer(x): return 0",
        "AssertionError",
    ),
    "builtins that agree": (
        "import builtins, operator\n"
        "builtins.all = builtins.any = builtins.isinstance = lambda *a, **k: True\n"
        "operator.eq = lambda a, b: True\n"
        "__builtins__['abs'] = lambda x: 0\n"
        "def answer(x): return 0",
        "",
    ),
    "modules replaced": (
        "import sys, types\n"
        "fake = types.ModuleType('random')\n"
        "fake.Random = lambda seed: types.SimpleNamespace(randrange=lambda n: 0)\n"
        "for name in list(sys.modules): sys.modules[name] = fake\n"
        "def answer(x): return 0",
        "AssertionError",
    ),
    "check redefined": ("def check(candidate): pass\ndef answer(x): return 0", "AssertionError"),
    "an answer that equals everything": (
        "class Liar:\n"
        "    def __eq__(self, other): return True\n"
        "    def __ne__(self, other): return False\n"
        "    __hash__ = None\n"
        "def answer(x): return Liar()",
        "AssertionError",
    ),
    "a number that equals everything": (
        "class Liar(int):\n    def __eq__(self, other): return True\n    __hash__ = int.__hash__\ndef answer(x): return Liar(1)",
        "AssertionError",
    ),
    "the marker printed": (
        "import os, json\n"
        "for fd in range(64):\n"
        "    for text in ('passed', json.dumps({'passed': True, 'reason': ''})):\n"
        "        try: os.write(fd, text.encode())\n"
        "        except OSError: pass\n"
        "os._exit(0)",
        "",
    ),
    "answers sent before the questions": (
        "import os, json\n"
        "for fd in range(64):\n"
        "    for value in (None, {'dict': [['answer', {'mine': 0}]]}, 7310, 7317, 0, 0, 0):\n"
        "        text = json.dumps(['value', value, []]).encode()\n"
        "        try: os.write(fd, len(text).to_bytes(4, 'big') + text)\n"
        "        except OSError: pass\n"
        "def answer(x): return 0",
        "",
    ),
    "the wire patched": (
        "import sys\n"
        "wire = next(m for n, m in sys.modules.items() if n.endswith('wire'))\n"
        "wire.Peer.encode = lambda self, value: {'yours': 0}\n"
        "def answer(x): return 0",
        "sent what cannot be read",
    ),
    "an exit handler": (
        "import atexit, os\natexit.register(lambda: os._exit(0))\ndef answer(x): raise SystemExit(0)",
        "SystemExit",
    ),
    "the tracer": (
        "import sys\nsys.settrace(lambda *a: os._exit(0))\nsys.setprofile(lambda *a: None)\ndef answer(x): return 0",
        "",
    ),
    "a function that is no function": ("answer = lambda *a: answer", "AssertionError"),
    "a fork that answers twice": (
        "import os\ndef answer(x):\n    os.fork()\n    return x * x + (7301 if x < 4 else 0)",
        "",
    ),
    "an exception without end": (
        "class Endless(Exception):\n    def __str__(self):\n        return str(self)\ndef answer(x): raise Endless()",
        "Exception",
    ),
    "a huge answer": ("def answer(x): return 'x' * (70 << 20)", ""),
    "a deep answer": ("def answer(x):\n    top = []\n    for _ in range(10**5): top = [top]\n    return top", "RecursionError"),
    "an answer in itself": ("def answer(x):\n    top = []\n    top.append(top)\n    return top", "RecursionError"),
    "files closed": ("import os\nos.closerange(0, 256)\ndef answer(x): return 0", ""),
    "deep recursion": (
        "import sys\nsys.setrecursionlimit(10**9)\ndef answer(x): return answer(x + 1) + 1",
        "",
    ),
    "deep recursion in C": (
        "import sys\nsys.setrecursionlimit(10**9)\n"
        "def answer(x):\n    f = str\n    for _ in range(10**6): f = f.__call__\n    return f(x)",
        "",
    ),
    "100 GB": ("def answer(x): return len(bytearray(100 << 30))", "MemoryError"),
    "100 GB bit by bit": (
        "kept = []\ndef answer(x):\n    for _ in range(10**4): kept.append(bytearray(10 << 20))\n    return len(kept)",
        "MemoryError",
    ),
    "limits raised": (
        "import resource\ndef answer(x): resource.setrlimit(resource.RLIMIT_AS, (-1, -1))",
        "ValueError: not allowed to raise maximum limit",
    ),
    "an output flood": ("def answer(x):\n    while True: print('x' * 10_000)", "wrote more than 1048576 bytes of output"),
    "an output flood past Python": (
        "import os\ndef answer(x):\n    while True: os.write(2, b'x' * 65536)",
        "wrote more than 1048576 bytes of output",
    ),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_what_ends_early_or_forges_fails(name, apart, traces):
    source, reason = FORGERIES[name]
    outcome = attack(source, apart, SHORT if name in ("a fork that answers twice", "deep recursion") else LIMITS)
    assert reason in outcome.result
    assert len(outcome.output) <= 4096


WAITING = {
    "an endless loop": "def answer(x):\n    while True: pass",
    "an endless loop that catches everything": (
        "def answer(x):\n    while True:\n        try:\n            while True: pass\n        except BaseException: pass"
    ),
    "signals ignored": (
        "import signal\n"
        "for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}: signal.signal(number, signal.SIG_IGN)\n"
        "def answer(x):\n    while True: pass"
    ),
    "stopping itself": "import os, signal\ndef answer(x):\n    while True: os.kill(os.getpid(), signal.SIGSTOP)",
    "a sleep": "import time\ntime.sleep(60)",
    "threads left running": (
        "import threading\n"
        "def spin():\n    while True: pass\n"
        "for _ in range(4): threading.Thread(target=spin, daemon=False).start()\n"
        "def answer(x): threading.Event().wait()"
    ),
    "waiting for an answer that it owes": "import sys\ndef answer(x): return sys.stdin.read() or answer(x)",
}


@pytest.mark.parametrize("name", WAITING)
def test_what_does_not_end_is_ended(name, apart, traces):
    outcome = attack(WAITING[name], apart, SHORT)
    if name != "waiting for an answer that it owes":
        assert outcome.result == "timed out"
    assert outcome.seconds < 10


def test_a_fork_bomb_is_counted_and_cleared_away(confined, traces):
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
    assert 1 <= int(outcome.output.split()[1]) <= LIMITS.processes


def test_daemons_do_not_outlive_their_program(confined, traces):
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


def test_files_elsewhere_cannot_be_written_or_deleted(confined, traces):
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


def test_files_elsewhere_cannot_be_read(confined, traces):
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


def test_the_environment_of_the_caller_is_nowhere(confined, traces, monkeypatch):
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


def test_no_socket_reaches_anyone(confined, traces):
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


def test_other_processes_cannot_be_signalled_or_read(confined, traces):
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


def test_privileges_cannot_be_won_back(confined, traces):
    source = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
def attempt(what):
    try: print("done" if what() in (None, 0) else "refused", end=" ")
    except OSError: print("refused", end=" ")
def answer(x):
    attempt(lambda: os.setuid(0))
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


def test_programs_of_the_machine_cannot_be_started(apart, traces):
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


def test_the_disk_is_not_filled(confined, traces):
    source = """
import os
total = 0
for number in range(24):
    with open(f"file{number}", "wb", buffering=0) as file:
        try:
            for _ in range(16): total += file.write(bytes(1 << 18))
        except OSError as error:
            print(error.errno, end=" ")
print(total)
def answer(x): return 0
"""
    *errors, total = attack(source, confined).output.split()
    assert set(errors) <= {"27", "28"}  # file too large, no space left
    assert int(total) <= (LIMITS.storage if confined.namespaces else 24 * LIMITS.file_size)


def test_traps_for_those_who_clear_up_catch_nobody(confined, traces):
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


def test_the_tests_are_not_to_be_found(confined, traces):
    source = """
import gc, os, re, sys
MAGIC = "magic-" + "number"
def search():
    seen = set()
    stack = list(gc.get_objects()) + [sys.modules]
    frame = sys._getframe()
    while frame:
        stack += [frame.f_locals, frame.f_globals, frame.f_code.co_consts]
        frame = frame.f_back
    while stack:
        item = stack.pop()
        if id(item) in seen or len(seen) > 300_000: continue
        seen.add(id(item))
        if isinstance(item, str) and MAGIC in item and len(item) > len(MAGIC): return item
        if isinstance(item, bytes) and MAGIC.encode() in item: return item.decode("latin-1")
        stack += gc.get_referents(item)
    for fd in range(3, 64):
        try: os.fstat(fd)
        except OSError: continue
        print("open", fd)
    try:
        with open("/proc/self/maps") as maps, open("/proc/self/mem", "rb") as memory:
            for line in maps:
                low, high, mode = re.match("([0-9a-f]+)-([0-9a-f]+) (\\\\S+)", line).groups()
                if mode.startswith("rw"):
                    memory.seek(int(low, 16))
                    part = memory.read(int(high, 16) - int(low, 16))
                    place = part.find(MAGIC.encode() + b" ")
                    if place >= 0: return part[place : place + 40].decode("latin-1")
    except OSError as error: print(type(error).__name__)
    return ""
def answer(x):
    found = re.search(MAGIC + r" (\\d+)", search())
    print("found" if found else "nothing")
    return int(found.group(1)) if found else 0
"""
    test = 'HIDDEN = "magic-number 7301"\nassert answer(3) == 7301'
    outcome = attack(source, confined, test=test)
    assert "nothing" in outcome.output and outcome.output.count("open") <= 2 + 8
    assert outcome.result.startswith("failed: AssertionError")


def test_what_the_tests_lend_is_no_way_in(apart, traces):
    source = """
def ask(item, name):  # past what holds back an honest program
    return item._peer.request("attribute", item, name)
def answer(function, node):
    for item in (function, node, node.twice):
        for name in ("__globals__", "__code__", "__self__", "__func__", "__class__", "__dict__", "__init__", "_hidden"):
            try: print("reached", name, ask(item, name))
            except AttributeError: pass
    for operation in ("run", "names", "import"):
        try: print("reached", operation, node._peer.request(operation, ["EXPECTED"]))
        except KeyError: pass
    for number in (-1, 10**6, "0", None):
        try: print("reached", number, node._peer.request("attribute", {"yours": number}, "value"))
        except Exception: pass
    node.value = 99
    return function(3) + node.twice()
"""
    test = """
EXPECTED = 7301
class Node:
    value = 1
    _hidden = 2
    def twice(self): return self.value * 2
node = Node()
assert answer(lambda n: n + EXPECTED, node) == EXPECTED + 3 + 198 and node.value == 99
assert answer(lambda n: n, Node()) == 0
"""
    outcome = attack(source, apart, test=test)
    assert outcome.output == ""
    assert "answer(lambda n: n, Node()) == 0" in outcome.result  # the honest part of it was answered


def test_everything_in_sight_is_read_only(traces):
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
