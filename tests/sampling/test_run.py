"""Sampling from a run directory, up to what sample.py prints."""

import json
import os
import re
import shutil
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

import sample
from genjax import data, tasks
from genjax.data.tokenizers.byte import ByteTokenizer
from genjax.errors import CheckpointError, ConfigError
from genjax.interop import huggingface
from genjax.sampling import Sampler, open_run, parse_mesh
from genjax.training.checkpoints import Checkpoints

CONFIG = {
    "seed": 0,
    "task": {
        "name": "language_model",
        "model": {"num_layers": 2, "num_heads": 2, "embed_dim": 16, "context_length": 64, "vocab_size": 264},
    },
    "data": {"name": "text", "tokenizer": {"name": "byte"}, "batch_size": 2, "sequence_length": 64},
    "ema": {"decays": [0.9]},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of two checkpoints: the raw weights say one thing, the averaged ones another."""
    path = tmp_path_factory.mktemp("run")
    (path / "config.json").write_text(json.dumps(CONFIG))
    ByteTokenizer().save(path / "tokenizer")
    task = tasks.build(CONFIG["task"], data.describe(CONFIG["data"], ByteTokenizer()))
    init = lambda seed: jax.tree.map(lambda x: x * 5, nn.unbox(jax.jit(task.init)(jax.random.key(seed))))  # noqa: E731
    with Checkpoints(path / "checkpoints", asynchronous=False) as checkpoints:
        for step in (1, 2):
            state = {"step": jnp.asarray(step), "variables": init(step), "ema": {"0.9": init(step + 10)}, "optimizers": {}}
            checkpoints.save(step, state, {"config": CONFIG})
    return path


def texts(opened, **knobs):
    task, variables = opened
    request = task.request_type(prompt="hello", max_new_tokens=12, temperature=0.0, ignore_eos=True, **knobs)
    return [a.value for a in Sampler(task)(variables, [request])]


def test_the_averaged_weights_of_the_newest_checkpoint_unless_told_otherwise(run):
    newest = texts(open_run(run))
    assert newest == texts(open_run(run, 2))
    assert len({*newest, *texts(open_run(run, 1)), *texts(open_run(run, ema=0)), *texts(open_run(run, 1, ema=0))}) == 4


def test_onto_a_mesh(run, cpu_devices):
    mesh = parse_mesh("data=2,tensor=2")
    task, variables = open_run(run, mesh=mesh)
    assert any(leaf.sharding.spec[0] == "tensor" for leaf in jax.tree.leaves(variables) if leaf.ndim and leaf.sharding.spec)
    request = task.request_type(prompt="hello", max_new_tokens=12, temperature=0.0, ignore_eos=True)
    assert [a.value for a in Sampler(task, mesh=mesh)(variables, [request])] == texts(open_run(run))


def test_in_another_dtype(run):
    task, variables = open_run(run, dtype="bfloat16")
    assert task.model_config.dtype == "bfloat16"
    assert len(texts((task, variables))[0]) > 0


def test_mesh_texts(cpu_devices):
    assert parse_mesh("") is None
    assert dict(parse_mesh("tensor=4").shape) == {"data": 2, "fsdp": 1, "sequence": 1, "tensor": 4}
    assert parse_mesh("data=1, tensor=4").size == 4
    for text, message in (
        ("tensor", "--mesh must look like data=1,tensor=4, but is 'tensor'"),
        ("tensor=x", "--mesh must look like"),
        ("tenser=2", "unknown key mesh.tenser; did you mean mesh.tensor"),
        ("data=16", "needs 16 devices, but there are 8"),
    ):
        with pytest.raises(ConfigError, match=message):
            parse_mesh(text)


@pytest.mark.parametrize(
    "content,message",
    [
        (None, "is no run directory: it has no config.json"),
        ("{", "config.json cannot be read"),
        ("{}", "config.json is no run's config: it has no section task and data"),
        ('{"model_type": "gpt2"}', "It looks like a weights folder: use --weights"),
    ],
)
def test_what_is_no_run(tmp_path, content, message):
    if content:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(CheckpointError, match=message):
        open_run(tmp_path)
    with pytest.raises(CheckpointError, match="there is no run directory .*nowhere"):
        open_run(tmp_path / "nowhere")


def call(capsys, *arguments):
    code = sample.main(list(map(str, arguments)))
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return code, captured.out, captured.err


def test_sample_py_prints_prompt_and_text_and_streams_the_same(run, capsys):
    command = ("--workdir", run, "--prompt=hello", "--max_new_tokens=12", "--seed=3")
    code, out, err = call(capsys, *command)
    assert code == 0 and out.startswith("hello") and err == ""
    assert call(capsys, *command, "--stream")[1] == out
    assert call(capsys, *command, "--seed=4")[1] != out


def test_sample_py_writes_jsonl_and_does_not_overwrite(run, tmp_path, capsys):
    prompts, out = tmp_path / "prompts.txt", tmp_path / "texts.jsonl"
    prompts.write_text("one\ntwo\n")
    command = ("--workdir", run, "--prompts", prompts, "--out", out, "--max_new_tokens=6", "--num_samples=2", "--log_probs")
    code, _, err = call(capsys, *command)
    assert code == 0 and f"wrote {out}" in err
    lines = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    assert [line["prompt"] for line in lines] == ["one", "one", "two", "two"]
    assert all(len(line["log_probs"]) == len(line["tokens"]) + (line["finish_reason"] == "eos") for line in lines)
    code, _, err = call(capsys, *command)
    assert code == 2 and "exists; choose another --out, or add --overwrite" in err
    assert call(capsys, *command, "--overwrite")[0] == 0


@pytest.mark.parametrize(
    "arguments,message",
    [
        ((), "name one model: --workdir RUN .* or --weights DIR"),
        (("--workdir=RUN", "--weights=x"), "name one model"),
        (("--workdir=RUN", "--temprature=1"), "unknown option --temprature; did you mean --temperature"),
        (("--workdir=RUN", "--promts=f"), "unknown option --promts; did you mean --prompt"),
        (("--workdir=RUN", "--checkpoint=9"), "there is no checkpoint of step 9 .*; there are: 1, 2"),
        (("--workdir=RUN", "--prompt=" + "a" * 64), "the prompt has 64 tokens, but the model's context holds 64"),
        (("--workdir=RUN", "--prompt=a", "--max_new_tokens=64"), "set max_new_tokens to at most 63"),
        (("--workdir=RUN", "--prompt=a", "--stream", "--out=x"), "choose one"),
        (("--workdir=RUN", "--prompt=a", "--stream", "--num_samples=2"), "only one text can be streamed at a time"),
        (("--workdir=RUN", "--prompt=a", "--attention=a.jpg"), "is a .png file, but --attention is a.jpg"),
        (("--workdir=RUN", "--prompt=a", "--attention=a.png", "--out=x"), "writes a picture and no samples"),
        (("--workdir=RUN", "--prompt=a", "--prompt=b", "--attention=a.png"), "draws one request, but there are 2"),
        (("--workdir=RUN", "--prompts=nowhere.txt"), "there is no file nowhere.txt"),
        (("--weights=nowhere",), "there is no folder nowhere"),
    ],
)
def test_sample_py_answers_a_mistake_with_one_sentence(run, capsys, arguments, message):
    code, out, err = call(capsys, *(a.replace("RUN", str(run)) for a in arguments))
    assert code == 2 and out == ""
    assert re.search(message, err) and err.startswith("error: ") and err.count("\n") == 1


def test_a_damaged_checkpoint_is_passed_over_in_one_line(run, tmp_path):
    """As a process: what Orbax's threads print does not pass through Python's streams."""
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    for file in (copy / "checkpoints" / "2" / "state" / "d").iterdir():
        os.truncate(file, 100)
    command = [sys.executable, sample.__file__, "--workdir", copy, "--prompt=hello", "--max_new_tokens=4"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and done.stdout.startswith("hello")
    assert re.fullmatch(r"checkpoint 2 is damaged \(.*\); using step 1\.\n", done.stderr)


def test_sample_py_lists_the_options_of_the_model(run, capsys):
    code, out, _ = call(capsys, "--help")
    assert code == 0 and "--workdir" in out and "--top_p" not in out
    code, out, _ = call(capsys, "--workdir", run, "--help")
    assert code == 0 and "--top_p NUMBER" in out and "--early_stopping heuristic|full|never" in out


def test_options_are_answered_before_weights_are_read(run, tmp_path, capsys):
    """A run without a checkpoint: whoever only asks for help or mistypes does not wait for weights."""
    copy = tmp_path / "run"
    shutil.copytree(run, copy, ignore=shutil.ignore_patterns("checkpoints"))
    assert "--top_p NUMBER" in call(capsys, "--workdir", copy, "--help")[1]
    assert "did you mean --temperature" in call(capsys, "--workdir", copy, "--temprature=1")[2]
    assert "there is no checkpoint" in call(capsys, "--workdir", copy, "--prompt=a")[2]


def test_sample_py_reads_published_weights(run, tmp_path, capsys):
    """The same weights as a Hugging Face folder write the same text."""
    task, variables = open_run(run)
    huggingface.save(tmp_path / "weights", variables["gpt"]["params"], task.model_config)
    ByteTokenizer().save(tmp_path / "weights")
    command = ("--prompt=hello", "--max_new_tokens=12", "--temperature=0", "--ignore_eos")
    code, out, err = call(capsys, "--weights", tmp_path / "weights", *command)
    assert code == 0, err
    assert out == call(capsys, "--workdir", run, *command)[1]
    np.testing.assert_equal(out.removeprefix("hello").removesuffix("\n"), texts((task, variables))[0])


def test_sample_py_draws_where_the_model_looks(run, tmp_path, capsys):
    picture = tmp_path / "seen.png"
    code, out, err = call(capsys, "--workdir", run, "--prompt=hello", "--attention", picture)
    assert (code, out, err) == (0, "", f"wrote {picture}\n") and picture.read_bytes().startswith(b"\x89PNG")
    code, _, err = call(capsys, "--workdir", run, "--prompt=hello", "--attention", picture)
    assert code == 2 and "exists; choose another" in err
    task, variables = open_run(run)
    (one,) = task.attention(variables, task.request_type(prompt="hello"))
    assert one.weights.shape == (2, 2, 5, 5) and one.queries == one.keys == tuple("hello")
    assert np.abs(np.triu(one.weights, 1)).max() == 0 and np.abs(one.weights.sum(-1) - 1).max() < 1e-5


@pytest.mark.parametrize(
    "target,message",
    [
        ([], "images cannot be shown in the terminal; add --out FILE"),
        (["--out=ring.wav"], "images are written to .png files, but --out is ring.wav"),
        (["--stream"], "images cannot be shown in the terminal"),
    ],
)
def test_where_pictures_cannot_go_is_said_before_weights_are_read(target, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    config = {"task": {"name": "gan", "network": "points"}, "data": {"name": "mixture"}}
    (tmp_path / "config.json").write_text(json.dumps(config))  # no checkpoints: to read them would be another error
    assert sample.main(["--workdir=.", *target]) == 2
    assert message in capsys.readouterr().err
