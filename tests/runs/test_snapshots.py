"""Snapshots of averages along a run: the same files however often it was interrupted, and averages made of them afterwards."""

import os
import re
import signal

import numpy as np
import pytest
from flax import traverse_util

import sample
from genjax import training
from genjax.errors import CheckpointError
from genjax.sampling import open_run
from genjax.storage.snapshots import find_snapshots, reconstruct, write_snapshot
from genjax.training import loop

STEPS = 10
EMA = {"decays": (0.9,), "stds": (0.05, 0.1), "snapshot_every": 3, "snapshot_dtype": "float32"}


@pytest.fixture(scope="session")
def config(tmp_path_factory):
    text = tmp_path_factory.mktemp("text") / "text.txt"
    text.write_text("the quick brown fox jumps over a lazy dog. " * 60)
    return {
        "seed": 0,
        "task": {
            "name": "language_model",
            "model": {"num_layers": 1, "num_heads": 2, "embed_dim": 16, "context_length": 32, "dropout": 0.1},
        },
        "data": {"name": "text", "path": str(text), "batch_size": 8, "sequence_length": 16, "mode": "window"},
        "optimizer": {"peak_lr": 1e-2, "warmup_steps": 2},
        "mesh": {"data": -1},
        "ema": EMA,
        "train": {"steps": STEPS, "log_every": 5, "checkpoint_every": 4, "keep": 1},
    }


@pytest.fixture(scope="session")
def whole(config, tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "run"
    training.train(config, path)
    return path


def contents(run):
    return {snapshot.file.name: snapshot.file.read_bytes() for snapshot in find_snapshots(run / "ema")}


def test_they_come_every_so_often_and_at_the_end_and_outlive_checkpoints(whole):
    assert [(s.step, s.std) for s in find_snapshots(whole / "ema")] == [(s, w) for s in (3, 6, 9, 10) for w in (0.05, 0.1)]
    assert os.listdir(whole / "checkpoints") == ["10"] and len(os.listdir(whole / "ema")) == 8


def test_an_interrupted_run_leaves_the_same_files(config, whole, tmp_path, monkeypatch):
    """SIGTERM at step 5 saves there; killed before step 8 it goes back to step 5, before a snapshot that it had written."""
    prefetch = loop.prefetch

    def interrupted(plan, dataset, start):
        for number, batch in enumerate(prefetch(plan, dataset, start), start):
            if number == 4:
                os.kill(os.getpid(), signal.SIGTERM)
            elif number == 7:
                raise KeyboardInterrupt
            yield batch

    monkeypatch.setattr(loop, "prefetch", interrupted)
    run = tmp_path / "run"
    assert training.train(config, run).step == 5
    assert {s.step for s in find_snapshots(run / "ema")} == {3}
    with pytest.raises(KeyboardInterrupt):
        training.train(config, run)
    assert {s.step for s in find_snapshots(run / "ema")} == {3, 6}
    # Left by a branch of the run that was given up: nothing of it may end up in an average.
    write_snapshot(run / "ema", 7, 0.05, {"x": np.zeros(1, np.float32)})
    monkeypatch.undo()
    assert training.train(config, run).finished
    assert contents(run) == contents(whole)


def flat(variables):
    return traverse_util.flatten_dict(variables, sep="/")


def test_any_width_can_be_sampled_from(whole):
    kept, again = (open_run(whole, ema_std=0.05, checkpoint=step)[1] for step in (None, 10))
    stored = reconstruct(find_snapshots(whole / "ema"), 10, 0.05)[0]
    raw, other = flat(open_run(whole, ema=0)[1]), flat(open_run(whole, ema=0.9)[1])
    default = flat(open_run(whole)[1])
    for name, leaf in flat(kept).items():
        np.testing.assert_array_equal(leaf, flat(again)[name])
        np.testing.assert_allclose(leaf, stored[name], atol=1e-6)
        np.testing.assert_array_equal(default[name], other[name])
    lines = []
    made = flat(open_run(whole, ema_std=0.07, report=lines.append)[1])
    expected, error = reconstruct(find_snapshots(whole / "ema"), 10, 0.07)
    between = flat(open_run(whole, ema_std=0.1)[1])
    kernel = max(made, key=lambda name: made[name].size)
    assert made.keys() == raw.keys() == expected.keys() and error < 0.05 and lines == []
    for name, leaf in made.items():
        np.testing.assert_allclose(leaf, expected[name], atol=1e-6)
    # Between the two that are stored, and none of the others.
    assert np.linalg.norm(made[kernel] - between[kernel]) < np.linalg.norm(flat(kept)[kernel] - between[kernel])
    assert min(np.abs(made[kernel] - x[kernel]).max() for x in (raw, other, between, flat(kept))) > 1e-5
    # A step whose checkpoint is gone; what snapshots hold is all there is to it.
    early = flat(open_run(whole, 6, ema_std=0.05)[1])
    np.testing.assert_allclose(early[kernel], reconstruct(find_snapshots(whole / "ema"), 6, 0.05)[0][kernel], atol=1e-6)
    open_run(whole, 3, ema_std=0.25, report=lines.append)
    assert re.fullmatch(
        r"the average of relative width 0.25 is rough: 1 steps have snapshots, and its weights are \d+% off\.", lines[0]
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("--ema=0.99",),
            "has no average of decay 0.99: it keeps averages of the decays 0.9 and of the relative widths 0.05, 0.1",
        ),
        (("--ema_std=0.13", "--checkpoint=4"), "there is no snapshot of step 4 in .*ema; there are: 3, 6, 9, 10"),
        (("--ema_std=0.5",), "no average has the relative width 0.5; it is above 0 and at most 0.2887"),
        (("--ema_std=0.13", "--ema=0.9"), "--ema names an average by its decay, --ema_std one by its relative width; choose one"),
    ],
)
def test_what_sample_py_cannot_find_is_a_sentence(whole, capsys, arguments, message):
    assert sample.main([f"--workdir={whole}", "--prompt=a", *arguments]) == 2
    assert re.search(message, capsys.readouterr().err)


def test_sample_py_takes_averages(whole, capsys):
    for average in ("--ema=none", "--ema_std=0.13"):
        assert sample.main([f"--workdir={whole}", "--prompt=the", "--max_new_tokens=4", "--temperature=0", average]) == 0
        assert capsys.readouterr().out.startswith("the")
    assert sample.main(["--weights=nowhere", "--prompt=a", "--ema=none"]) == 2
    assert "leave them out with --weights" in capsys.readouterr().err


def test_a_run_without_snapshots_says_what_it_keeps(whole, tmp_path):
    (tmp_path / "config.json").write_bytes((whole / "config.json").read_bytes())
    with pytest.raises(
        CheckpointError, match=r"has no snapshots, .* 0.13 could be made: it keeps averages of the decays 0.9 and of"
    ):
        open_run(tmp_path, ema_std=0.13)
