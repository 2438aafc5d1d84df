"""The sandbox of a user who is not root: the same namespaces without other users, and without namespaces Landlock."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from genjax.evaluation.code.inside.filters import FULL_LANDLOCK, landlock_version

ROOT = Path(__file__).parents[3]
NOBODY = 54321
SCRIPT = """
import json, os, sys, time
sys.path.insert(0, {root!r})
from genjax.evaluation.code import isolation, launch
from genjax.evaluation.code.isolation import Isolation
from genjax.evaluation.code.sandbox import Limits, run_program

victim = os.path.join({folder!r}, "victim")
open(victim, "w").write("kept")
plans = {{"strongest": isolation.probe()}}
if {landlock}:
    plans["landlock"] = Isolation(landlock=True, seccomp=True)
limits = Limits(timeout=2, processes=8, memory=256 << 20, storage=4 << 20)
attack = f'''
import ctypes, os, signal, time
libc = ctypes.CDLL(None, use_errno=True)
def attempt(what):
    try: print("done" if what() in (None, 0) else "refused", end=" ")
    except OSError as error: print("refused", end=" ")
attempt(lambda: open({{victim!r}}, "w").write("overwritten") and None)
attempt(lambda: os.remove({{victim!r}}))
attempt(lambda: os.chmod({{victim!r}}, 0))
attempt(lambda: open({{victim!r}}).read() and None)
attempt(lambda: open("/proc/%d/mem" % os.getppid(), "r+b").close())
attempt(lambda: libc.ptrace(16, os.getppid(), None, None))
attempt(lambda: os.kill({{os.getpid()}}, signal.SIGKILL))
attempt(lambda: libc.unshare(0x10000000))
attempt(lambda: libc.socket(2, 1, 0) < 0)
head, capabilities = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
attempt(lambda: libc.capget(head, capabilities) or not any(capabilities))
started = 0
for _ in range(20):
    try:
        if os.fork() == 0: time.sleep(60); os._exit(0)
        started += 1
    except OSError: break
print(started)
def answer(x): return 0
'''
for name, plan in plans.items():
    allowed = {{"test": "assert answer(1) == 2", "allow_execution": True, "isolation": plan}}
    honest = run_program("def answer(x): return x + 1", limits, **allowed)
    outcome = run_program(attack, limits, **allowed)
    endless = run_program("while True: pass", Limits(timeout=0.3), **allowed)
    print(json.dumps([name, plan.plan, honest.result, outcome.result, outcome.output, endless.result, open(victim).read()]))
end = time.monotonic() + 5
while True:  # a supervisor that has reported is gone a moment later
    left = []
    for process in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.stat("/proc/" + process).st_uid == os.getuid() and process != str(os.getpid()):
                left.append(open("/proc/" + process + "/comm").read().strip())
        except OSError:
            pass
    if time.monotonic() > end or not any(name.startswith("genjax-") for name in left):
        break
print(json.dumps(left))
"""


def as_nobody(python: str, code: str) -> subprocess.CompletedProcess:
    who = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
    return subprocess.run([python, "-c", code], **who, capture_output=True, text=True, cwd="/", timeout=60)


def suitable_python() -> str | None:
    """A Python that another user may run: one below /root they may not."""
    for candidate in (sys.executable, "/usr/bin/python3", "/usr/local/bin/python3"):
        code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import genjax.evaluation.code.sandbox"
        try:
            if as_nobody(candidate, code).returncode == 0:
                return candidate
        except OSError:
            continue
    return None


@pytest.mark.skipif(os.geteuid() != 0, reason="the other tests run without privileges then")
def test_a_user_without_privileges_is_confined_too():
    python = suitable_python()
    if python is None:
        pytest.skip("no Python here that another user may run")
    folder = f"/tmp/genjax-user-{os.urandom(4).hex()}"
    os.mkdir(folder)
    os.chown(folder, NOBODY, NOBODY)
    code = SCRIPT.format(root=str(ROOT), folder=folder, landlock=landlock_version() >= FULL_LANDLOCK)
    try:
        done = as_nobody(python, code)
    finally:
        shutil.rmtree(folder)
    assert done.returncode == 0, done.stderr
    *reports, left = map(json.loads, done.stdout.splitlines())
    assert reports
    for name, plan, honest, outcome, output, endless, victim in reports:
        assert not plan["user"]
        assert (honest, endless, victim) == ("passed", "timed out", "kept"), name
        assert outcome.startswith("failed: AssertionError"), name
        *answers, started = output.split()
        assert answers == ["refused"] * 10, name
        assert 1 <= int(started) <= 10, name  # about 8: without namespaces, what else the user runs is counted before
    assert not [name for name in left if name.startswith("genjax-")]
