"""The command that measures a run by the texts that it writes."""

import json

import jax
import jax.numpy as jnp
import pytest
from flax import linen as nn

from genjax import data, tasks
from genjax.data.tokenizers.byte import ByteTokenizer
from genjax.sampling import text_evaluation
from genjax.training.checkpoints import Checkpoints

MODEL = {"num_layers": 1, "num_heads": 1, "embed_dim": 16, "dropout": 0.0}


@pytest.fixture
def run(tmp_path):
    """A run directory of a tiny translator that nobody trained."""
    for name in ("train.en", "train.de", "dev.en", "dev.de"):
        (tmp_path / name).write_text("".join(f"{name} {i}\n" for i in range(7)))
    files = {"source": "train.en", "target": "train.de", "evaluation_source": "dev.en", "evaluation_target": "dev.de"}
    section = {"name": "line_pairs", "tokenizer": {"name": "byte"}, "source_length": 24, "target_length": 12}
    config = {
        "seed": 0,
        "task": {"name": "seq2seq", "model": MODEL},
        "data": section | {name: str(tmp_path / file) for name, file in files.items()},
    }
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    ByteTokenizer().save(folder / "tokenizer")
    task = tasks.build(config["task"], data.describe(config["data"], ByteTokenizer()))
    with Checkpoints(folder / "checkpoints", asynchronous=False) as checkpoints:
        variables = nn.unbox(jax.jit(task.init)(jax.random.key(1)))
        checkpoints.save(3, {"step": jnp.asarray(3), "variables": variables, "ema": {}, "optimizers": {}}, {"config": config})
    return folder


def test_every_held_out_source_is_answered_and_measured(run, capsys):
    out = run / "evaluation"
    arguments = [f"--workdir={run}", f"--out={out}", "--num_beams=2", "--metrics=translation,rouge,wer,cer,exact"]
    assert text_evaluation.main(arguments) == 0
    rows = [json.loads(line) for line in (out / "hypotheses.jsonl").read_text().splitlines()]
    assert [(row["prompt"], row["reference"]) for row in rows] == [(f"dev.en {i}", f"dev.de {i}") for i in range(7)]
    summary = json.loads((out / "summary.json").read_text())
    assert (summary["checkpoint"], summary["texts"], summary["num_beams"]) == (3, 7, 2)
    assert summary["exact_match"] == 0 and summary["word_error_rate"] > 0 and "tok:13a" in summary["bleu_signature"]
    assert "word_error_rate: 1.0000" in capsys.readouterr().out
    assert text_evaluation.main(arguments) == 2
    assert "hypotheses.jsonl exists" in capsys.readouterr().err
    assert text_evaluation.main([*arguments, "--overwrite", "--limit=2"]) == 0
    assert json.loads((out / "summary.json").read_text())["texts"] == 2


def test_a_metric_that_is_not_known_is_told_first(run, capsys):
    assert text_evaluation.main([f"--workdir={run}", f"--out={run}/e", "--metrics=blue"]) == 2
    assert "--metrics 'blue' is not known" in capsys.readouterr().err
