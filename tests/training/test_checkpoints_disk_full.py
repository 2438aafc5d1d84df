"""A disk that fills up while a checkpoint is written: a sentence, the last good checkpoint, and no half of a new one."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.errors import RunError
from genjax.training.checkpoints import Checkpoints

ROOT = Path(__file__).resolve().parents[2]
SIZE = 100_000  # float32 numbers: 400 kB, which do not compress


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 2 MB of its own."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = shutil.which("mount")
    done = mount and subprocess.run([mount, "-t", "tmpfs", "-o", "size=2m", "tmpfs", disk], capture_output=True).returncode == 0
    if not done:
        pytest.skip("mounting a tmpfs is not permitted here; test_what_a_person_sees covers the case with a file size limit")
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)


def state_of(seed):
    return {"step": jnp.int32(seed), "x": jax.random.normal(jax.random.key(seed), (SIZE,))}


ABSTRACT = {"step": jax.ShapeDtypeStruct((), jnp.int32), "x": jax.ShapeDtypeStruct((SIZE,), jnp.float32)}


def fill(disk, left):
    (disk / "fill").write_bytes(os.urandom(max(shutil.disk_usage(disk).free - left, 0)))


def assert_only_good(checkpoints, step):
    """`step` is the only checkpoint, its numbers are right, and nothing else there could be taken for one."""
    # A write that was under way when the disk filled up may leave an empty folder under Orbax's temporary name behind.
    names = [p.name for p in checkpoints.directory.iterdir() if not p.name.endswith(".orbax-checkpoint-tmp")]
    assert names == [str(step)] and checkpoints.all_steps() == [step]
    state, _, restored = checkpoints.restore(ABSTRACT)
    assert restored == step
    assert np.array_equal(state["x"], state_of(step)["x"])


def test_too_little_space_is_told_before_anything_is_written(small_disk):
    with Checkpoints(small_disk / "checkpoints") as checkpoints:
        checkpoints.save(1, state_of(1), {})
        checkpoints.wait()
        fill(small_disk, left=100_000)
        with pytest.raises(RunError) as caught:
            checkpoints.save(2, state_of(2), {})
        message = str(caught.value)
        assert re.fullmatch(
            r"checkpoint 2 could not be saved: no space left on the disk \((98|99|100)\.\d kB free at .*/checkpoints, "
            r"about 465\.5 kB needed\); free some space; the last good checkpoint is step 1\.",
            message,
        ), message
        assert_only_good(checkpoints, 1)


@pytest.mark.parametrize("asynchronous", [True, False])
@pytest.mark.parametrize("left", [0, 8_000, 60_000, 300_000, 380_000])
def test_the_disk_fills_up_while_writing(small_disk, monkeypatch, asynchronous, left):
    with Checkpoints(small_disk / "checkpoints", keep=1, asynchronous=asynchronous) as checkpoints:
        checkpoints.save(1, state_of(1), {})
        checkpoints.wait()
        fill(small_disk, left)
        monkeypatch.setattr(checkpoints, "_free_bytes", lambda: 10**12)  # the space was there when the save began
        with pytest.raises(RunError, match="checkpoint 2 could not be saved: no space left .* last good checkpoint is step 1"):
            checkpoints.save(2, state_of(2), {})
            checkpoints.wait()
        assert_only_good(checkpoints, 1)
        (small_disk / "fill").unlink()
        assert checkpoints.save(2, state_of(2), {})
        checkpoints.wait()
        assert_only_good(checkpoints, 2)


def test_the_run_goes_on_when_asked_to(small_disk, monkeypatch):
    said = []
    with Checkpoints(small_disk / "checkpoints", keep=1, stop_on_failure=False, report=said.append) as checkpoints:
        checkpoints.save(1, state_of(1), {})
        checkpoints.wait()
        fill(small_disk, left=100_000)
        assert not checkpoints.save(2, state_of(2), {})
        monkeypatch.setattr(checkpoints, "_free_bytes", lambda: 10**12)
        checkpoints.save(3, state_of(3), {})
        assert not checkpoints.wait()
        assert_only_good(checkpoints, 1)
        (small_disk / "fill").unlink()
        assert checkpoints.save(4, state_of(4), {}) and checkpoints.wait()
        assert_only_good(checkpoints, 4)
    assert [line.split(":")[0] for line in said] == ["checkpoint 2 could not be saved", "checkpoint 3 could not be saved"]


def test_a_failed_first_save_says_that_there_is_nothing(small_disk):
    fill(small_disk, left=20_000)
    with Checkpoints(small_disk / "checkpoints") as checkpoints:
        with pytest.raises(RunError, match=r"checkpoint 1 could not be saved: no space .*; there is no earlier checkpoint\."):
            checkpoints.save(1, state_of(1), {})
        assert checkpoints.latest_step() is None


PROGRAM = """
import resource, sys
import jax, jax.numpy as jnp
from pathlib import Path
from genjax.training.checkpoints import Checkpoints

state = lambda seed: {"x": jax.random.normal(jax.random.key(seed), (100_000,)), "y": jnp.arange(3)}
with Checkpoints(sys.argv[1], stop_on_failure=False) as checkpoints:
    checkpoints.save(1, state(1), {})
    checkpoints.wait()
    two = state(2)
    checkpoints.check()
    free = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, free[1]))  # a write beyond this fails, as on a full disk
    checkpoints.save(2, two, {})
    assert not checkpoints.wait()
    resource.setrlimit(resource.RLIMIT_FSIZE, free)
    assert checkpoints.all_steps() == [1]
    for step in (3, 4):
        checkpoints.save(step, state(step), {})
    checkpoints.wait()
    for path in (Path(sys.argv[1]) / "4" / "state").rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[:100])
    assert checkpoints.restore(jax.eval_shape(lambda: state(3)))[2] == 3
"""


def test_what_a_person_sees(tmp_path):
    """A failed save and a damaged checkpoint are one line each, without the tracebacks of the threads behind them."""
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, tmp_path / "checkpoints"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    assert run.returncode == 0, run.stderr
    lines = [line for line in run.stderr.splitlines() if "TPU" not in line and "libtpu" not in line and "InitGoogle" not in line]
    lines = [line for line in lines if not line.startswith("=== Source Location")]
    assert len(lines) == 2, run.stderr
    assert lines[0] == "warning: checkpoint 2 could not be saved: file too large; the last good checkpoint is step 1."
    assert lines[1].startswith("warning: checkpoint 4 is damaged (") and "); going on from step 3." in lines[1]
