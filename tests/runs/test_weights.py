"""A run becomes a Hugging Face folder, samples from it alike, and starts another run."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import sample

ROOT = Path(__file__).resolve().parents[2]


def call(runs, *command):
    result = subprocess.run([sys.executable, *command], capture_output=True, text=True, cwd=ROOT, env=runs.environment())
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout + result.stderr


@pytest.fixture(scope="session")
def folder(runs, whole):
    path = runs.folder / "published"
    assert "wrote" in call(runs, "-m", "genjax.sampling.export", f"--workdir={runs.folder / whole}", f"--out={path}")
    return path


def texts(runs, name, *arguments):
    out = runs.folder / name
    call(runs, "sample.py", *arguments, f"--out={out}")
    return [json.loads(line)["text"] for line in out.read_text().splitlines()]


def test_a_run_and_its_export_write_the_same_text(runs, whole, folder):
    prompts = runs.folder / "prompts.txt"
    prompts.write_text("the quick\na lazy dog and\nwizards\n")
    knobs = [f"--prompts={prompts}", "--max_new_tokens=12", "--num_samples=2", "--temperature=0.9", "--top_k=40", "--seed=5"]
    from_run = texts(runs, "run.jsonl", f"--workdir={runs.folder / whole}", *knobs)
    from_folder = texts(runs, "folder.jsonl", f"--weights={folder}", *knobs)
    assert len(from_run) == 6 and from_run == from_folder
    assert len(set(from_run)) > 3


def test_transformers_reads_the_export_and_agrees(runs, whole, folder):
    torch = pytest.importorskip("torch")
    from transformers import AutoModelForCausalLM

    from genjax import tasks

    reference = AutoModelForCausalLM.from_pretrained(folder).eval()
    task, variables = tasks.open_weights(folder)
    tokens = np.random.default_rng(0).integers(0, 257, (2, 20))
    with torch.no_grad():
        theirs = reference(torch.tensor(tokens)).logits.numpy()
    ours = task.model.apply(variables["gpt"], tokens.astype(np.int32))
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_a_run_starts_from_published_weights(runs, whole, folder):
    output = runs.run("tuned", f"--config.train.init_from={folder}", "--config.train.steps=12")
    assert f"started from the weights in {folder}" in output
    # The first losses of a run from nothing are those of a uniform guess, ln 257 = 5.5.
    assert runs.losses("tuned")[2] < 1.05 * runs.losses(whole)[24]


def test_a_continuation_is_scored_as_the_sum_of_its_log_probabilities(runs, whole, folder):
    import jax

    from genjax import tasks

    task, variables = tasks.open_weights(folder)
    (score,) = task.log_likelihoods(task.sampling_variables(variables), [("the quick", " brown fox")])
    tokens = np.frombuffer(b"the quick brown fox", np.uint8).astype(np.int32)
    log_probs = jax.nn.log_softmax(task.model.apply(variables["gpt"], tokens[None]))[0]
    expected = sum(float(log_probs[i - 1, tokens[i]]) for i in range(len("the quick"), len(tokens)))
    assert score.log_likelihood == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--prompt=" + "x" * 70], "the prompt has 70 tokens, but the model's context holds 64"),
        (["--prompt=x", "--temprature=1"], "did you mean --temperature?"),
        (["--prompt=x", "--top_p=2"], "top_p must be between 0 and 1, but is 2.0"),
        (["--prompts=nowhere.txt"], "nowhere.txt"),
    ],
)
def test_a_wrong_request_is_one_sentence(runs, whole, capsys, arguments, message):
    assert sample.main([f"--workdir={runs.folder / whole}", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_truncated_weights_are_one_sentence(runs, folder, capsys):
    broken = runs.folder / "broken"
    shutil.copytree(folder, broken)
    path = broken / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])
    assert sample.main([f"--weights={broken}", "--prompt=x"]) == 2
    assert "model.safetensors" in capsys.readouterr().err
