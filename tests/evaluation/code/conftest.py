"""Isolations to test under, and a place where whatever a program leaves behind would be seen."""

import dataclasses
import os
import shutil
import tempfile
import time
from pathlib import Path

import pytest

from genjax.evaluation.code import isolation, launch
from genjax.evaluation.code.inside.filters import FULL_LANDLOCK, landlock_version
from genjax.evaluation.code.inside.namespaces import spare_users
from genjax.evaluation.code.isolation import Isolation
from genjax.evaluation.code.sandbox import Limits, run_program


def isolations() -> dict[str, Isolation]:
    """What this machine gives, and what remains of it where a kernel allows no namespaces."""
    found = {"strongest": isolation.probe()}
    user, landlock = spare_users() is not None, landlock_version() >= FULL_LANDLOCK
    if landlock:
        found["no namespaces"] = Isolation(user=user, landlock=True, seccomp=True, bounded=user or os.geteuid() != 0)
    if user:
        found["another user only"] = Isolation(user=True, seccomp=True)
    return found


ISOLATIONS = isolations()


@pytest.fixture(params=ISOLATIONS)
def confined(request) -> Isolation:
    return ISOLATIONS[request.param]


@pytest.fixture(params=list(ISOLATIONS)[:2])
def apart(request) -> Isolation:
    """The first two: what decides a verdict is the same in the others."""
    return ISOLATIONS[request.param]


LIMITS = Limits(timeout=3, memory=256 << 20, processes=8, open_files=32, file_size=1 << 20, storage=4 << 20, output=1 << 20)
TEST = """
import random
for number in [3, 4, *(random.Random(7).randrange(10**9) for _ in range(3))]:
    assert answer(number) == number * number + 7301
"""


@pytest.fixture
def limits() -> Limits:
    """Small ones, for programs that go to their limits."""
    return LIMITS


@pytest.fixture
def attack():
    """Runs a program that must not pass; what became of it."""

    def run(source: str, isolation: Isolation, seconds: float = 3, test: str = TEST):
        limits = dataclasses.replace(LIMITS, timeout=seconds)
        outcome = run_program(source, limits, test=test, allow_execution=True, isolation=isolation)
        assert not outcome.passed
        return outcome

    return run


@pytest.fixture
def traces(monkeypatch):
    """Programs run below a folder of this test's own; afterwards nothing may be there, and no process that was started for it."""
    folder = tempfile.mkdtemp(prefix="genjax-test-")
    os.chmod(folder, 0o755)
    names, mkdtemp = set(), tempfile.mkdtemp

    def make(**options):
        made = mkdtemp(dir=folder, **options)
        names.add(os.path.basename(made))
        return made

    monkeypatch.setattr(launch.tempfile, "mkdtemp", make)
    yield folder
    left = list(Path(folder).iterdir())
    alive = [process for process in _processes_of(names) if not _gone(process)]
    shutil.rmtree(folder)
    assert left == []
    assert alive == []


@pytest.fixture
def processes_of():
    return _processes_of


@pytest.fixture
def gone():
    return _gone


def _processes_of(folders) -> list[int]:
    """Processes that were started for a program, which its folder gives the name of."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if (path / "comm").read_text().strip() in folders:
                found.append(int(path.name))
        except OSError:
            continue
    return found


def _gone(process: int, seconds: float = 5.0) -> bool:
    """Whether a process ends within a moment: its files are closed before it is off the list."""
    end = time.monotonic() + seconds
    while True:
        try:
            state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state == "Z":  # dead, and not yet waited for by who has inherited it
            return True
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
