"""A process killed at any moment of an asynchronous save leaves only checkpoints whose numbers are right."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.errors import CheckpointError
from genjax.training.checkpoints import Checkpoints

ROOT = Path(__file__).resolve().parents[2]
KILLS = 4
KEEP = 2  # as in the program

# Saves a state that is a function of the step as fast as it can, going on from the newest checkpoint.
PROGRAM = """
import sys
import jax, jax.numpy as jnp
from genjax.training.checkpoints import Checkpoints

shape = jax.ShapeDtypeStruct((64, 1024), jnp.float32)
state = lambda step: {"x": jax.random.normal(jax.random.key(step), shape.shape), "step": jnp.int32(step)}
with Checkpoints(sys.argv[1], keep=2) as checkpoints:
    step = 0
    if checkpoints.latest_step() is not None:
        found, meta, step = checkpoints.restore(jax.eval_shape(lambda: state(0)))
        assert meta["step"] == step and bool((found["x"] == state(step)["x"]).all()), step
    while True:
        step += 1
        checkpoints.save(step, state(step), {"step": step})
        print(step, flush=True)
"""


@pytest.mark.slow
def test_what_is_left_is_right(tmp_path):
    folder = tmp_path / "checkpoints"
    chance = random.Random(0)
    newest = 0
    for _ in range(KILLS):
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, folder], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        begun = [process.stdout.readline() for _ in range(chance.randint(2, 6))]
        time.sleep(chance.uniform(0.0, 0.03))  # anywhere within a save, which takes about that long
        process.send_signal(signal.SIGKILL)
        _, errors = process.communicate()
        assert all(begun), errors  # it was running, and its own check of what it restored had passed
        with Checkpoints(folder) as checkpoints:
            steps = checkpoints.all_steps()
            assert steps and steps[-1] >= newest
            assert steps[-1] >= int(begun[-1]) - 1, "a save that the next one has waited for is there"
            newest = steps[-1]
            for step in steps:
                abstract = {"x": jax.ShapeDtypeStruct((64, 1024), jnp.float32), "step": jax.ShapeDtypeStruct((), jnp.int32)}
                try:
                    state, meta, found = checkpoints.restore(abstract, step)
                except CheckpointError:
                    assert step in steps[:-KEEP], "only one that retention was deleting may be incomplete"
                    continue
                assert (int(state["step"]), meta["step"], found) == (step, step, step)
                assert np.array_equal(state["x"], jax.random.normal(jax.random.key(step), (64, 1024)))
    assert newest > KILLS
    assert not [name for name in os.listdir(folder) if "damaged" in name], "the renaming at the end of a save is atomic"
