"""Two processes with four devices each save together; one process with eight, four or one restores the same bits."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from jax.sharding import Mesh

from genjax.training.checkpoints import Checkpoints
from genjax.training.metrics import read_metrics

sys.path.insert(0, str(Path(__file__).parent))
import two_processes  # noqa: E402

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """The run directory that both processes have left."""
    folder = tmp_path_factory.mktemp("two") / "run"
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    # Compiled as here, where the same state is computed once more and must come out with the same bits.
    flags = os.environ["XLA_FLAGS"].replace("device_count=8", "device_count=4")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "XLA_FLAGS": flags}
    processes = [
        subprocess.Popen(
            [sys.executable, two_processes.__file__, folder, str(port), str(index)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for index in range(2)
    ]
    try:
        outputs = [process.communicate(timeout=240)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], "\n".join(outputs)
    return folder


@pytest.fixture(scope="session")
def facts(run):
    return [json.loads((run / f"facts_{index}.json").read_text()) for index in range(2)]


@pytest.mark.parametrize("count", [8, 4, 1])
def test_one_process_restores_what_two_saved(run, count):
    devices = np.array(jax.devices("cpu")[:count])
    mesh = Mesh(devices.reshape(2 if count > 1 else 1, -1), ("data", "tensor"))
    with Checkpoints(run / "checkpoints") as checkpoints:
        assert checkpoints.all_steps() == [1, 2, 3]
        for step, seed in ((1, 1), (2, 2), (3, 30)):
            expected = two_processes.make_state(seed, mesh)
            state, meta, found = checkpoints.restore(two_processes.abstract_of(expected), step)
            assert (meta["step"], found) == (seed, step)
            assert two_processes.same(state, expected)


def test_both_processes_restore_their_own_shards(facts):
    assert [own["restored"] for own in facts] == [[True, 3, 3]] * 2


def test_both_fall_back_together_and_one_says_so(run, facts):
    assert [own["fell back"] for own in facts] == [[True, 2, 2]] * 2
    assert facts[1]["told"] == []
    (line,) = facts[0]["told"]
    assert line.startswith("checkpoint 3 is damaged (") and "going on from step 2." in line
    assert (run / "checkpoints" / "3.damaged").is_dir()


def test_both_learn_of_another_model(facts):
    assert all("is of another model; 6 leaves differ" in own["mismatch"] for own in facts)


def test_both_are_refused_a_directory_in_use_and_a_changed_config(facts):
    assert "is in use by process" in facts[0]["second"]
    assert "config.seed: 1 -> 2" in facts[0]["config"]
    for name in ("second", "config"):
        assert facts[1][name].startswith("process 0 could not use the run directory")


def test_only_the_first_process_writes_logs(run):
    assert [record["step"] for record in read_metrics(run / "metrics.jsonl")] == [1, 2, 3]
    assert len(list((run / "tensorboard").iterdir())) == 1
    assert json.loads((run / "environment.json").read_text())["starts"][0]["devices"]["processes"] == 2


def test_a_signal_to_one_process_stops_both_after_the_same_step(facts):
    assert facts[0]["stopped"] == facts[1]["stopped"]
    step, name = facts[0]["stopped"]
    assert step > 5 and name == "SIGTERM"
