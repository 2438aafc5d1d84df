"""A run that was killed, stopped or moved goes on as if nothing had happened."""

import random
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


def test_the_same_config_and_seed_make_the_same_run(runs, whole):
    runs.run("again")
    assert_same_bits(runs.state("again"), runs.state(whole))


LONG = "--config.train.steps=160"  # with a checkpoint every four steps: seconds, in which a signal can come


@pytest.fixture(scope="module")
def long(runs) -> str:
    runs.run("long", LONG)
    return "long"


@pytest.mark.parametrize("seed", [0, 1])
def test_killed_at_a_random_step_and_started_again_it_ends_with_the_same_bits(runs, long, seed):
    name, rng = f"killed_{seed}", random.Random(seed)
    for first in (2, 50):
        process = runs.start(name, LONG)
        runs.wait_for_step(process, name, rng.randrange(first, first + 48))
        process.send_signal(signal.SIGKILL)
        process.wait()
    output = runs.run(name, LONG)
    assert "resumed from the checkpoint of step" in output
    assert_same_bits(runs.state(name), runs.state(long))
    assert runs.losses(name) == runs.losses(long)


def test_sigterm_saves_and_exits_with_0(runs, long):
    process = runs.start("stopped", LONG)
    runs.wait_for_step(process, "stopped", 6)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    assert "SIGTERM: saved step" in output and "the same command goes on" in output
    runs.run("stopped", LONG)
    assert_same_bits(runs.state("stopped"), runs.state(long))


def test_from_eight_devices_onto_four_the_losses_agree_to_rounding(runs, whole):
    """The rows of a batch do not depend on the devices: losses that agree for 24 steps of packed rows with dropout would not
    if any row or random number differed."""
    runs.run("moved", "--config.train.steps=12", devices=8)
    output = runs.run("moved", devices=4)
    assert "resumed from the checkpoint of step 12" in output
    # The shorter first run had the learning-rate schedule of 12 steps; the one to compare with had the same.
    runs.run("unmoved", "--config.train.steps=12")
    runs.run("unmoved")
    moved, unmoved = runs.losses("moved"), runs.losses("unmoved")
    assert moved.keys() == unmoved.keys()
    np.testing.assert_allclose(list(moved.values()), list(unmoved.values()), rtol=2e-5)


def test_two_processes_equal_one_and_go_on_as_one(runs, whole):
    outputs = runs.run_processes("two", 2, "--config.train.steps=12", devices=2)
    assert "compiled the train step" in outputs[0] and "compiled the train step" not in outputs[1]
    output = runs.run("two", devices=2)
    assert "resumed from the checkpoint of step 12" in output
    runs.run("one", "--config.train.steps=12")
    runs.run("one")
    two, one = runs.losses("two"), runs.losses("one")
    assert two.keys() == one.keys()
    np.testing.assert_allclose(list(two.values()), list(one.values()), rtol=2e-5)


def test_a_profile_of_the_asked_steps_is_left_behind(runs):
    output = runs.run("profiled", "--config.train.steps=12", "--config.train.profile=(6, 8)")
    assert "wrote a profile of steps 6 to 8" in output
    assert list((runs.folder / "profiled" / "profile").rglob("*.xplane.pb"))
