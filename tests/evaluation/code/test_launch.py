"""The way of a job to its processes and back, when it is broken off."""

import os
import signal
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

import pytest

from genjax.errors import RunError
from genjax.evaluation.code import isolation, launch
from genjax.evaluation.code.sandbox import Limits, run_program

ANSWER = "def answer(x): return x + {}"


def run(number, **options):
    return run_program(ANSWER.format(number), test=f"assert answer(1) == 1 + {number}", allow_execution=True, **options)


def test_many_jobs_at_once_each_have_their_own_report(traces):
    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(lambda n: run_program(f"print({n})", test=f"assert {n} % 2", allow_execution=True), range(40)))
    assert [int(outcome.output) for outcome in outcomes] == list(range(40))
    assert [outcome.passed for outcome in outcomes] == [n % 2 == 1 for n in range(40)]


def test_a_server_that_was_killed_is_started_again(traces):
    assert run(1).passed
    process = launch._servers[-1]._process
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert run(2).passed
    assert launch._servers[-1]._process.pid != process.pid


def test_a_job_that_is_given_up_is_ended_and_cleared_away(apart, traces, monkeypatch):
    monkeypatch.setattr(launch, "GRACE", -4.7)
    with pytest.raises(RunError, match="the sandbox did not report: nothing for 0.3 s"):
        run_program("import time\ntime.sleep(60)", Limits(timeout=5), test="pass", allow_execution=True, isolation=apart)


def test_long_sources_and_tests_arrive_whole(traces):
    number = 10**5
    source = f"numbers = [{', '.join(map(str, range(number)))}]\ndef answer(x): return numbers[x]"
    test = f"expected = [{', '.join(map(str, range(number)))}]\nassert answer(-1) == expected[-1]"
    assert len(source) > 1 << 19
    assert run_program(source, test=test, allow_execution=True).result == "passed"


def test_a_layer_that_the_kernel_refuses_stops_the_run_and_is_named(traces, monkeypatch):
    monkeypatch.setattr(launch, "_places", lambda: {"visible": ["/does/not/exist"], "path": []})
    with pytest.raises(RunError, match="the sandbox was refused what it had before: .*No such file or directory"):
        run(1, isolation=isolation.probe())


def test_a_tree_deeper_than_recursion_goes_is_removed():
    folder = tempfile.mkdtemp(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None)
    home = os.getcwd()
    try:
        os.chdir(folder)
        for _ in range(sys.getrecursionlimit() + 100):
            os.mkdir("deep")
            os.mkdir("beside")
            os.symlink("/", "link")
            os.chdir("deep")
    finally:
        os.chdir(home)
    launch.remove_tree(folder)
    assert not os.path.exists(folder)
