"""A run that was killed, stopped or moved goes on as if nothing had happened."""

import random
import re
import signal

import numpy as np
import pytest


def assert_same_bits(a, b):
    assert a.keys() == b.keys()
    different = [name for name in a if a[name].tobytes() != b[name].tobytes()]
    assert different == []


def test_a_whole_run_learns_and_leaves_its_files(runs, whole):
    losses = runs.losses(whole)
    assert list(losses) == list(range(2, 25, 2))
    assert losses[24] < 0.7 * losses[2]
    folder = runs.folder / whole
    for name in ("config.json", "environment.json", "metrics.jsonl", "report.png", "checkpoints/24", "tensorboard", "samples"):
        assert (folder / name).exists(), name
    held_out = [line for line in runs.metrics(whole) if "held_out/loss" in line]
    assert [line["step"] for line in held_out] == [12, 24]
    assert held_out[1]["held_out/loss"] < held_out[0]["held_out/loss"]
    assert held_out[1]["held_out/accuracy"] > held_out[0]["held_out/accuracy"]


def test_a_finished_run_says_so(runs, whole):
    before = runs.metrics(whole)
    assert "this run is done: 24 of 24 steps" in runs.run(whole)
    assert runs.metrics(whole) == before


LONG = "--config.train.steps=100"  # with a checkpoint every four steps: seconds, in which a signal can come


def test_killed_and_stopped_at_random_steps_and_started_again_it_ends_with_the_same_bits(runs):
    """A second run of the same config and seed, once killed and once told to stop, is the run in one go."""
    rng = random.Random(0)
    runs.run("long", LONG)
    for number, wish in enumerate((signal.SIGKILL, signal.SIGTERM)):
        process = runs.start("halted", LONG)
        runs.wait_for_step(process, "halted", rng.randrange(8, 40) + 40 * number)
        process.send_signal(wish)
        output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    assert "resumed from the checkpoint of step" in output
    assert "SIGTERM: saved step" in output and "the same command goes on" in output
    runs.run("halted", LONG)
    assert_same_bits(runs.state("halted"), runs.state("long"))
    # What is logged is the mean since the line before, or since the run went on.
    after = int(re.search(r"SIGTERM: saved step (\d+)", output).group(1)) + 1
    halted, long = ({step: loss for step, loss in runs.losses(name).items() if step != after} for name in ("halted", "long"))
    assert halted == long


CONSTANT = "--config.optimizer.schedule=constant"  # one step to compile, however many there are
HALF = (CONSTANT, "--config.train.steps=12")


@pytest.fixture(scope="session")
def halves(runs):
    """The losses of 12 steps and, after them, 12 more, on one device; and what the first half printed."""
    output = runs.run("halves", *HALF, "--config.train.profile=(6, 8)")
    runs.run("halves", CONSTANT)
    return runs.losses("halves"), output


def test_from_eight_devices_onto_four_the_losses_agree_to_rounding(runs, halves):
    """The rows of a batch do not depend on the devices: losses that agree for 24 steps of packed rows with dropout would not
    if any row or random number differed."""
    runs.run("moved", *HALF, devices=8)
    output = runs.run("moved", CONSTANT, devices=4)
    assert "resumed from the checkpoint of step 12" in output
    moved = runs.losses("moved")
    assert moved.keys() == halves[0].keys()
    np.testing.assert_allclose(list(moved.values()), list(halves[0].values()), rtol=2e-5)


def test_two_processes_equal_one_and_go_on_as_one(runs, halves):
    outputs = runs.run_processes("two", 2, *HALF, devices=2)
    assert "compiled the train step" in outputs[0] and "compiled the train step" not in outputs[1]
    output = runs.run("two", CONSTANT, devices=4)
    assert "resumed from the checkpoint of step 12" in output
    two = runs.losses("two")
    assert two.keys() == halves[0].keys()
    np.testing.assert_allclose(list(two.values()), list(halves[0].values()), rtol=2e-5)


def test_a_profile_of_the_asked_steps_is_left_behind(runs, halves):
    assert "wrote a profile of steps 6 to 8" in halves[1]
    assert list((runs.folder / "halves" / "profile").rglob("*.xplane.pb"))
