"""metrics.jsonl stays valid JSON, whole and without repeats, whatever happened to the run; tensorboard shows the same."""

import errno
import json
import math
import os
import subprocess
import sys
import time

import jax.numpy as jnp
import numpy as np
import pytest
from tensorboardX.proto.event_pb2 import Event

from genjax.training.metrics import MetricsWriter, read_metrics


def lines_of(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def write_steps(folder, steps, **options):
    with MetricsWriter(folder, **options) as writer:
        for step in steps:
            writer.write(step, {"loss": 1.0 / (step + 1)})


def events_of(folder):
    """The (step, tag, value) and session starts of all event files, in order of writing."""
    found = []
    for path in sorted((folder / "tensorboard").iterdir(), key=lambda p: p.stat().st_mtime_ns):
        data = path.read_bytes()
        while data:
            size = int.from_bytes(data[:8], "little")
            event = Event.FromString(data[12 : 12 + size])
            data = data[12 + size + 4 :]
            if event.HasField("session_log"):
                found.append(("start", event.step))
            found += [(event.step, value.tag, value.simple_value) for value in event.summary.value]
    return found


def test_a_line_holds_step_time_and_values(tmp_path):
    before = time.time()
    with MetricsWriter(tmp_path) as writer:
        writer.write(1, {"loss": np.float32(0.5), "tokens": np.int64(7), "accuracy": jnp.float32(0.25)})
        (line,) = lines_of(tmp_path)  # on disk before the writer is closed
    assert before - 0.01 <= line.pop("time") <= time.time()
    assert line == {"step": 1, "loss": 0.5, "tokens": 7, "accuracy": 0.25}


def test_values_that_are_not_finite_stay_valid_json(tmp_path):
    with MetricsWriter(tmp_path) as writer:
        writer.write(1, {"a": math.nan, "b": math.inf, "c": np.float32(-np.inf), "d": 1e-45})

    def refuse(text):
        raise AssertionError(f"{text} is not JSON")

    text = (tmp_path / "metrics.jsonl").read_text()
    assert json.loads(text, parse_constant=refuse)["a"] == "NaN"
    (record,) = read_metrics(tmp_path / "metrics.jsonl")
    assert math.isnan(record["a"]) and record["b"] == math.inf and record["c"] == -math.inf and record["d"] == 1e-45


def test_a_fresh_start_drops_what_was_there(tmp_path):
    write_steps(tmp_path, [1, 2, 3])
    write_steps(tmp_path, [1, 2])
    assert [line["step"] for line in lines_of(tmp_path)] == [1, 2]


def test_a_resume_drops_later_lines_and_has_no_step_twice(tmp_path):
    write_steps(tmp_path, [10, 20, 30, 40])
    write_steps(tmp_path, [30, 40, 50], resumed_from=20)
    assert [line["step"] for line in lines_of(tmp_path)] == [10, 20, 30, 40, 50]


@pytest.mark.parametrize("torn", [b'{"step": 50, "lo', b'{"step": 50, "loss": 0.1', b"\x00\x00\x00", b"[1]\n", b'{"loss": 1}\n'])
def test_a_torn_last_line_is_repaired(tmp_path, torn):
    write_steps(tmp_path, [10, 20])
    with open(tmp_path / "metrics.jsonl", "ab") as file:
        file.write(torn)
    assert [record["step"] for record in read_metrics(tmp_path / "metrics.jsonl")] == [10, 20]
    write_steps(tmp_path, [30], resumed_from=20)
    assert [line["step"] for line in lines_of(tmp_path)] == [10, 20, 30]


def test_lines_of_one_step_are_merged_when_read(tmp_path):
    with MetricsWriter(tmp_path) as writer:
        writer.write(10, {"loss": 2.0})
        writer.write(20, {"loss": 1.0})
        writer.write(20, {"held_out/loss": 1.5})
    first, second = read_metrics(tmp_path / "metrics.jsonl")
    assert first.keys() == {"step", "time", "loss"}
    assert {name: second[name] for name in ("step", "loss", "held_out/loss")} == {"step": 20, "loss": 1.0, "held_out/loss": 1.5}


def test_reading_what_is_not_there(tmp_path):
    assert read_metrics(tmp_path / "none.jsonl") == []


def test_other_processes_write_nothing(tmp_path):
    write_steps(tmp_path / "run", [1], enabled=False)
    assert not (tmp_path / "run").exists()


def test_tensorboard_shows_the_same_and_hides_what_was_repeated(tmp_path):
    write_steps(tmp_path, [1, 3])
    write_steps(tmp_path, [3], resumed_from=1)
    assert events_of(tmp_path) == [("start", 0), (1, "loss", 0.5), (3, "loss", 0.25), ("start", 2), (3, "loss", 0.25)]
    assert len(list((tmp_path / "tensorboard").iterdir())) == 2


def test_a_full_disk_is_one_warning_and_leaves_whole_lines(tmp_path, monkeypatch, capsys):
    real_write, full = os.write, [False]

    def write(descriptor, data):
        """What a full disk does: a part of the line, then an error."""
        if not full[0]:
            return real_write(descriptor, data)
        real_write(descriptor, data[:9])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", write)
    with MetricsWriter(tmp_path) as writer:
        for step in range(6):
            full[0] = step in (2, 3)
            writer.write(step, {"loss": 1.0})
    assert [line["step"] for line in lines_of(tmp_path)] == [0, 1, 4, 5]
    warnings = capsys.readouterr().err.splitlines()
    assert warnings == [f"warning: metrics cannot be written to {tmp_path}: no space left on device; the run goes on."]


def test_tensorboard_goes_on_in_another_file_after_a_full_disk(tmp_path, monkeypatch, capsys):
    with MetricsWriter(tmp_path) as writer:
        writer.write(1, {"loss": 1.0})
        broken = writer._events

        def fail():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(broken, "flush", fail)
        writer.write(2, {"loss": 1.0})
        writer.write(3, {"loss": 1.0})
    assert [line["step"] for line in lines_of(tmp_path)] == [1, 2, 3]
    assert (3, "loss", 1.0) in events_of(tmp_path)
    assert len(list((tmp_path / "tensorboard").iterdir())) == 2
    assert capsys.readouterr().err.count("no space left on device") == 1


def test_a_directory_that_cannot_be_written_is_a_warning(tmp_path, capsys):
    (tmp_path / "run").write_text("a file")
    with MetricsWriter(tmp_path / "run") as writer:
        writer.write(1, {"loss": 1.0})
    assert capsys.readouterr().err.startswith(f"warning: metrics cannot be written to {tmp_path / 'run'}: ")


def test_writing_metrics_imports_no_torch(tmp_path):
    program = (
        "import sys\nfrom genjax.training.metrics import MetricsWriter\n"
        "with MetricsWriter(sys.argv[1]) as writer:\n    writer.write(1, {'loss': 1.0})\n"
        "print('torch' in sys.modules)\n"
    )
    run = subprocess.run([sys.executable, "-c", program, tmp_path], capture_output=True, text=True)
    assert run.stdout == "False\n", run.stderr
    assert events_of(tmp_path) == [("start", 0), (1, "loss", 1.0)]
