"""From files to measures: texts and sounds through the train loop and the command that measures what a run writes."""

import json

import numpy as np
import pytest

from genjax import sampling, training
from genjax.sampling import text_evaluation
from tests.data.test_speech import RATE, tone, wav

OPTIMIZER = {"name": "adam", "peak_lr": 1e-2, "warmup_steps": 1}
TRAIN = {"steps": 3, "log_every": 1, "eval_every": 3, "sample_every": 3, "checkpoint_every": 3}


def translation(folder):
    for name, count in (("train", 60), ("dev", 9)):
        (folder / f"{name}.en").write_text("".join(f"number {i}\n" for i in range(count)))
        (folder / f"{name}.de").write_text("".join(f"Nummer {i}\n" for i in range(count)))
    data = {"name": "line_pairs", "tokenizer": {"name": "byte"}, "source_length": 48, "target_length": 40, "batch_size": 8}
    sides = {"source": "train.en", "target": "train.de", "evaluation_source": "dev.en", "evaluation_target": "dev.de"}
    task = {
        "name": "seq2seq",
        "label_smoothing": 0.1,
        "prompts": ("number 3",),
        "num_beams": 2,
        "model": {"num_layers": 2, "num_heads": 2, "embed_dim": 16, "scan_layers": True, "remat": "full", "dropout": 0.1},
    }
    return {"task": task, "data": data | {side: str(folder / file) for side, file in sides.items()}}


def speech(folder):
    (folder / "sounds").mkdir()
    for speaker in ("ann", "eve"):
        for number in range(9):
            samples = tone(200 + 40 * number, 0.1 + 0.03 * number)
            (folder / "sounds" / f"{number % 3}_{speaker}_{number}.wav").write_bytes(wav(samples, RATE))
    data = {
        **{"name": "speech", "path": str(folder / "sounds"), "name_pattern": r"(?P<text>\d)_(?P<speaker>\w+)_\d"},
        **{"held_out_speakers": ("eve",), "sample_rate": RATE, "num_mels": 16, "max_frames": 41, "target_length": 4},
        **{"batch_size": 8, "augmentation": {"speed": 0.2, "noise": 0.1, "time_masks": 1}},
    }
    prompts = (str(folder / "sounds" / "0_eve_0.wav"),)
    model = {"num_layers": 1, "num_heads": 2, "embed_dim": 16, "dropout": 0.1}
    return {"task": {"name": "speech", "prompts": prompts, "model": model}, "data": data}


@pytest.mark.parametrize(("make", "measure"), [(translation, "bleu"), (speech, "word_error_rate")])
def test_a_run_learns_and_is_measured(make, measure, tmp_path):
    config = make(tmp_path) | {"seed": 0, "optimizer": OPTIMIZER, "train": TRAIN, "ema": {"decays": (0.9,)}, "mesh": {"data": -1}}
    training.train(config, tmp_path / "run")
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    losses = [row["loss"] for row in rows if "loss" in row]
    assert len(losses) == 3 and losses[-1] < losses[0] and np.isfinite(rows[-1].get("held_out/loss", 0.0))
    assert any("held_out/loss" in row for row in rows)
    assert list((tmp_path / "run" / "samples").iterdir())
    out = tmp_path / "evaluation"
    assert text_evaluation.main([f"--workdir={tmp_path / 'run'}", f"--out={out}"]) == 0
    summary = json.loads((out / "summary.json").read_text())
    assert summary["texts"] == 9 and summary["checkpoint"] == 3 and summary[measure] >= 0
    task, variables = sampling.open_run(tmp_path / "run")
    (wish,) = task.example_requests()
    assert len(sampling.sample(task, variables, [wish])) == 1
