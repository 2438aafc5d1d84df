"""Whole runs of a masked language model and of a GPT that sees, on eight devices: train, sample, draw, export."""

import io
import json
import zipfile

import jax
import numpy as np
import pytest
from PIL import Image

import sample
from genjax import tasks, training
from genjax.sampling import Sampler, open_run
from genjax.tasks.masked_requests import MaskedRequest
from genjax.tasks.visual_language import VisualRequest

TRAIN = {"steps": 4, "log_every": 1, "eval_every": 2, "sample_every": 4, "checkpoint_every": 2}
COLORS = {"red": (255, 0, 0), "blue": (0, 0, 255)}


def lines(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def reading(tmp_path_factory):
    path = tmp_path_factory.mktemp("reading")
    words = "the old man and a red dog walk over seven bridges to town".split()
    rng = np.random.default_rng(0)
    (path / "text.txt").write_text("\n".join(" ".join(rng.choice(words, rng.integers(4, 9))) for _ in range(300)))
    config = {
        "task": {
            "name": "masked_lm",
            "model": {"num_layers": 2, "num_heads": 2, "embed_dim": 16, "context_length": 32, "scan_layers": True},
            "prompts": ("the old [MASK] walks",),
        },
        "data": {
            "name": "text", "path": str(path / "text.txt"), "document_separator": "\n", "bidirectional": True, "batch_size": 8,
            "sequence_length": 24, "tokenizer": {"name": "wordpiece", "vocab_size": 80},
        },
        "optimizer": {"name": "adam", "peak_lr": 1e-2, "schedule": "constant"},
    }  # fmt: skip
    training.train(config | {"train": TRAIN}, path / "run")
    return path / "run"


def test_a_masked_language_model_trains_and_fills(reading, tmp_path, capsys):
    held_out = [line["held_out/loss"] for line in lines(reading) if "held_out/loss" in line]
    assert len(held_out) >= 2 and held_out[-1] < held_out[0]
    assert sample.main(["--workdir", str(reading), "--prompt", "a [MASK] dog", "--top_k=3"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("a [MASK] dog\n  [MASK]: ") and out.count("%") == 3
    assert sample.main(["--workdir", str(reading), "--prompt", "a dog", "--attention", str(tmp_path / "a.png")]) == 0
    task, variables = open_run(reading)
    task.export(tmp_path / "out", variables)
    again, loaded = tasks.open_weights(tmp_path / "out")
    requests = [MaskedRequest(prompt="over seven [MASK] to"), MaskedRequest(prompt="the town", embed=True)]
    here, there = (Sampler(t)(v, requests) for t, v in ((task, variables), (again, loaded)))
    assert here[0].metadata["filled"] == there[0].metadata["filled"]
    np.testing.assert_allclose(here[1].metadata["vector"], there[1].metadata["vector"], atol=1e-5)


def test_a_gpt_that_sees_trains_and_answers(tmp_path, capsys):
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as file:
        questions = []
        for number in range(40):
            color, out = list(COLORS)[number % 2], io.BytesIO()
            Image.new("RGB", (8, 8), COLORS[color]).save(out, "PNG")
            file.writestr(f"train/images/{number}.png", out.getvalue())
            questions.append(["which color?", color, number])
        file.writestr("train/questions.json", json.dumps(questions))
    Image.new("RGB", (8, 8), COLORS["red"]).save(tmp_path / "red.png")
    config = {
        "task": {
            "name": "visual_language",
            "model": {
                "fusion": "gated",
                "vision": {"patch_size": 4, "num_layers": 1, "num_heads": 2, "embed_dim": 16},
                "gpt": {"num_layers": 2, "num_heads": 2, "embed_dim": 16, "context_length": 32},
            },
            "trains": ("vision", "adapter"),
            "questions": ("which color?",),
            "image": str(tmp_path / "red.png"),
        },
        "data": {
            "name": "image_questions", "path": str(tmp_path / "images.zip"), "image_size": 8, "batch_size": 8,
            "sequence_length": 16, "augmentation": {"flip": True},
            "tokenizer": {"name": "bpe", "vocab_size": 300}, "evaluation_fraction": 0.3,
        },
        "optimizer": {"name": "adam", "peak_lr": 1e-2, "schedule": "constant"},
    }  # fmt: skip
    training.train(config | {"train": TRAIN}, tmp_path / "run")
    assert {"held_out/exact_match", "held_out/loss", "held_out/perplexity"} <= set().union(*lines(tmp_path / "run"))
    task, variables = open_run(tmp_path / "run")
    _, earlier = open_run(tmp_path / "run", 2)
    frozen, learned = variables["gpt"], variables["adapter"]
    same = [np.array_equal(a, b) for a, b in zip(leaves(frozen), leaves(earlier["gpt"]), strict=True)]
    moved = [np.array_equal(a, b) for a, b in zip(leaves(learned), leaves(earlier["adapter"]), strict=True)]
    assert all(same) and not all(moved)
    command = ["--workdir", str(tmp_path / "run"), "--image", str(tmp_path / "red.png"), "--prompt", "which color?"]
    capsys.readouterr()
    assert sample.main([*command, "--max_new_tokens=4"]) == 0
    assert capsys.readouterr().out.startswith("which color?")
    assert sample.main([*command, "--attention", str(tmp_path / "a.png")]) == 0
    (answer,) = Sampler(task)(
        variables, [VisualRequest(image=str(tmp_path / "red.png"), prompt="which color?", max_new_tokens=4)]
    )
    assert answer.metadata["image"].endswith("red.png")


def leaves(tree):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]
