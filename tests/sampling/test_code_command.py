"""sample.py with a code model: gaps on the command line, in files and in prompt files, and findings."""

import json
import shutil

import pytest

import sample
from genjax import tasks
from genjax.data.sources.document import Document
from genjax.data.tokenizers.byte import ByteTokenizer
from genjax.evaluation.verbatim import VerbatimIndex
from genjax.interop import huggingface
from genjax.sampling import open_run
from genjax.tasks.code_model import CodeModel
from genjax.tasks.language_model import LanguageModel
from tests.sampling.code_runs import make_run

KNOBS = ("--max_new_tokens=12", "--seed=3")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("runs") / "run", ByteTokenizer(fim_tokens=True))


@pytest.fixture
def gap(tmp_path):
    file = tmp_path / "gap.py"
    file.write_text("def f(x):\n    return <FILL>\n\nprint(f(1))\n")
    return file


def call(capsys, *arguments, code=0):
    assert sample.main(list(map(str, arguments))) == code
    captured = capsys.readouterr()
    return captured.err if code else captured.out


def lines(path):
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_a_gap_in_a_file_is_printed_filled_in_and_streamed_alike(run, gap, capsys):
    out = call(capsys, "--workdir", run, "--file", gap, *KNOBS)
    assert out.startswith("def f(x):\n    return ") and out.endswith("\n\nprint(f(1))\n\n")
    assert len(out) > len(gap.read_text()) - len("<FILL>") + 1
    assert call(capsys, "--workdir", run, "--file", gap, *KNOBS, "--stream") == out
    prefix, _, suffix = gap.read_text().partition("<FILL>")
    assert call(capsys, "--workdir", run, "--prefix", prefix, "--suffix", suffix, *KNOBS) == out
    assert call(capsys, "--workdir", run, "--file", gap, *KNOBS, "--infill_order=spm") != out


def test_a_written_infill_is_the_middle_alone(run, gap, tmp_path, capsys):
    wishes, out = tmp_path / "wishes.jsonl", tmp_path / "texts.jsonl"
    wishes.write_text("\n".join(map(json.dumps, [{"file": str(gap)}, {"prefix": "a", "suffix": "b"}, {"prompt": "c"}])))
    call(capsys, "--workdir", run, "--prompts", wishes, "--out", out, "--num_samples=2", "--rank", *KNOBS)
    found = lines(out)
    assert [line.get("prefix") for line in found] == ["def f(x):\n    return "] * 2 + ["a"] * 2 + [None] * 2
    assert [line.get("prompt") for line in found] == [None] * 4 + ["c"] * 2
    assert not any("print(f(1))" in line["text"] for line in found)
    assert all(a["mean_log_prob"] >= b["mean_log_prob"] for a, b in zip(found[::2], found[1::2], strict=True))


def test_findings_are_printed_and_written(run, gap, tmp_path, capsys):
    command = ("--workdir", run, "--prompt=x = eval(y)\n#", "--findings", *KNOBS)
    printed = call(capsys, *command)
    assert "\n--- findings ---\n" in printed and "parse" in printed.partition("--- findings ---")[2]
    call(capsys, *command, "--num_samples=2", "--language=Python", "--out", tmp_path / "texts.jsonl")
    for line in lines(tmp_path / "texts.jsonl"):
        assert line["findings"].keys() == {"parses", "security", "lint", "verbatim"} and line["findings"]["verbatim"] is None
        assert line["language"] == "python" and line["findings"]["parses"] is not None
    assert "findings are of finished texts; leave out --stream" in call(capsys, *command, "--stream", code=2)
    assert "findings" not in call(capsys, "--workdir", run, "--prompt=x", *KNOBS)


def test_the_runs_index_finds_repeats_and_a_damaged_one_is_named_before_anything_is_sampled(run, tmp_path, capsys):
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    text = call(capsys, "--workdir", run, "--prompt=x", *KNOBS, "--max_new_tokens=40")[1:-1]
    VerbatimIndex.build([Document("mine.py", f"\n\n{text}\n", licence="MIT")]).save(copy / "verbatim")
    command = ("--workdir", copy, "--prompt=x", *KNOBS, "--max_new_tokens=40", "--findings", "--out")
    call(capsys, *command, tmp_path / "texts.jsonl")
    (line,) = lines(tmp_path / "texts.jsonl")
    verbatim = line["findings"]["verbatim"]
    assert (verbatim["name"], verbatim["licence"], verbatim["text"]) == ("mine.py", "MIT", text.strip())
    (copy / "verbatim" / "order.npy").unlink()
    assert "is damaged" in call(capsys, *command, tmp_path / "more.jsonl", code=2)


def test_a_tokenizer_without_sentinels_is_named(tmp_path, capsys):
    run = make_run(tmp_path / "run", ByteTokenizer())
    said = call(capsys, "--workdir", run, "--prefix=a", code=2)
    assert said.startswith("error: this model cannot fill in: its tokenizer has no sentinel tokens") and said.count("\n") == 1


def test_a_file_that_is_not_there_is_named(run, tmp_path, capsys):
    assert "there is no file nowhere.py." in call(capsys, "--workdir", run, "--file=nowhere.py", code=2)
    (tmp_path / "latin.py").write_bytes(b"caf\xe9<FILL>")
    assert "is not UTF-8 text (byte 3)" in call(capsys, "--workdir", run, "--file", tmp_path / "latin.py", code=2)
    (tmp_path / "empty.py").touch()
    assert "empty.py of --file is empty" in call(capsys, "--workdir", run, "--file", tmp_path / "empty.py", code=2)
    assert "--file has no value; write --file=FILE" in call(capsys, "--workdir", run, "--file", code=2)
    assert "--file FILE" in call(capsys, "--workdir", run, "--help")


def test_weights_with_sentinels_fill_in_like_the_run(run, gap, tmp_path, capsys):
    task, variables = open_run(run)
    huggingface.save(tmp_path / "weights", variables["gpt"]["params"], task.model_config)
    task.info.tokenizer.save(tmp_path / "weights")
    assert type(tasks.weights_task(tmp_path / "weights")) is CodeModel
    ours = call(capsys, "--workdir", run, "--file", gap, *KNOBS)
    assert call(capsys, "--weights", tmp_path / "weights", "--file", gap, *KNOBS) == ours
    ByteTokenizer().save(tmp_path / "weights")
    assert type(tasks.weights_task(tmp_path / "weights")) is LanguageModel
