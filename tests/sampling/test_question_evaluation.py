"""The held-out questions of a run, asked and counted."""

import io
import json
import zipfile

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from genjax import data, tasks
from genjax.data.image_questions import held_out_sayings
from genjax.data.tokenizers.byte import ByteTokenizer
from genjax.sampling.question_evaluation import main, summarize
from genjax.training.checkpoints import Checkpoints

GPT = {"num_layers": 1, "num_heads": 1, "embed_dim": 8, "context_length": 32}
VISION = {"patch_size": 4, "num_layers": 1, "num_heads": 1, "embed_dim": 8}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of random weights on twenty small images."""
    path = tmp_path_factory.mktemp("run")
    with zipfile.ZipFile(path / "images.zip", "w") as file:
        for number in range(20):
            out = io.BytesIO()
            Image.fromarray(np.full((8, 8, 3), number, np.uint8)).save(out, "PNG")
            file.writestr(f"train/images/{number}.png", out.getvalue())
        file.writestr("train/questions.json", json.dumps([["is it?", "yes" if n % 2 else "no", n] for n in range(20)]))
    config = {
        "seed": 0,
        "task": {"name": "visual_language", "model": {"gpt": GPT, "vision": VISION}},
        "data": {
            "name": "image_questions", "path": str(path / "images.zip"), "image_size": 8, "sequence_length": 12, "batch_size": 2,
            "tokenizer": {"name": "byte"}, "evaluation_fraction": 0.5,
        },
    }  # fmt: skip
    (path / "config.json").write_text(json.dumps(config))
    ByteTokenizer().save(path / "tokenizer")
    task = tasks.build(config["task"], data.describe(config["data"], ByteTokenizer()))
    with Checkpoints(path / "checkpoints", asynchronous=False) as checkpoints:
        variables = nn.unbox(jax.jit(task.init)(jax.random.key(0)))
        state = {"step": jnp.asarray(1), "variables": variables, "ema": {}, "optimizers": {}}
        checkpoints.save(1, state, {"config": config})
    return path


def test_every_held_out_question_is_asked_once(run, tmp_path, capsys):
    assert main(["--workdir", str(run), "--out", str(tmp_path / "out"), "--max_new_tokens=2"]) == 0
    rows = [json.loads(line) for line in (tmp_path / "out" / "answers.jsonl").read_text("utf-8").splitlines()]
    asked = held_out_sayings(json.loads((run / "config.json").read_text())["data"])
    assert [(row["image"], row["question"], row["answer"]) for row in rows] == [(s.image, s.question, s.answer) for s, _ in asked]
    assert 0 < len(rows) < 20 and all("prediction" in row for row in rows)
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["questions"] == len(rows) == sum(part["questions"] for part in summary["by_answer"].values())
    assert f"of {len(rows)} held-out questions" in capsys.readouterr().out
    assert main(["--workdir", str(run), "--out", str(tmp_path / "out")]) == 2
    assert "already holds files; choose another --out" in capsys.readouterr().err


def test_answers_are_compared_normalized():
    rows = [
        {"answer": "yes", "prediction": " Yes."},
        {"answer": "yes", "prediction": "no"},
        {"answer": "red", "prediction": "red"},
    ]
    expected = {"yes": {"questions": 2, "exact_match": 0.5}, "red": {"questions": 1, "exact_match": 1.0}}
    assert summarize(rows) == {"questions": 3, "exact_match": pytest.approx(2 / 3), "by_answer": expected}
