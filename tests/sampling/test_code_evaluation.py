"""The evaluation of a code model as a command, on a model that nobody trained."""

import json
import shutil

import pytest

from genjax.data.code.manifest import manifest_entry
from genjax.data.documents import documents
from genjax.data.tokenizers.byte import ByteTokenizer
from genjax.evaluation.code import isolation
from genjax.interop import huggingface
from genjax.sampling import code_evaluation, open_run
from tests.sampling.code_runs import make_run

# One byte after "#", whatever it is, is a comment.
ONE = {"prompt": "def one():\n    return 1\n#", "entry_point": "one"}
PROBLEMS = [{"task_id": f"T/{number}", "test": f"def check(f):\n    assert f() == {number}"} | ONE for number in (1, 2)]


def module(number):
    functions = [f'def name_{number}_{i}(x):\n    """Adds {i}."""\n    return x + {number * i}\n' for i in range(4)]
    return f"import module_{number}\n\n\n" + "\n\n".join(functions)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    for number in range(12):
        (folder / f"{number}.py").write_text(module(number))
    return folder


@pytest.fixture(scope="module")
def run(corpus, tmp_path_factory):
    held_out = {"evaluation_fraction": 0.4, "duplicates": {"near": "ignore"}}
    tokenizer = ByteTokenizer(fim_tokens=True)
    return make_run(tmp_path_factory.mktemp("runs") / "run", tokenizer, source="files", path=str(corpus), **held_out)


@pytest.fixture
def problems(tmp_path):
    file = tmp_path / "problems.jsonl"
    file.write_text("\n".join(map(json.dumps, PROBLEMS)))
    return file


def call(capsys, *arguments):
    code = code_evaluation.main(list(map(str, arguments)))
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err and code in (0, 2)
    return captured.out if code == 0 else captured.err


def rows(file):
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_everything_is_measured_kept_and_not_written_again(run, problems, tmp_path, capsys):
    out = tmp_path / "evaluation"
    sampled = ("--num_samples=2", "--max_new_tokens=1")
    command = ("--workdir", run, "--out", out, "--problems", problems, "--infill_lines=5", "--functions=3", *sampled)
    printed = call(capsys, *command)
    summary = json.loads((out / "summary.json").read_text())
    assert summary.keys() == {"problems", "lines", "functions"} and not (out / "results.jsonl").exists()
    assert summary["problems"]["samples"] == len(rows(out / "samples.jsonl")) == 4
    assert summary["lines"]["lines"] == len(rows(out / "lines.jsonl")) == 5
    for kind in ("left_to_right", "psm", "spm"):
        exact = [row[kind] == row["expected"] for row in rows(out / "lines.jsonl")]
        assert summary["lines"][f"{kind}_exact_match"] == sum(exact) / 5
        assert summary["lines"][f"{kind}_edit_similarity"] >= summary["lines"][f"{kind}_exact_match"]
    assert summary["functions"] == {"functions": 3, "samples": 6, "parse": 0.0}  # one byte is no body
    assert "problems" in printed and "psm exact match: " in printed
    (out / "samples.jsonl").write_text("".join(json.dumps(row | {"kept": True}) + "\n" for row in rows(out / "samples.jsonl")))
    call(capsys, *command)
    assert all(row["kept"] for row in rows(out / "samples.jsonl"))
    said = call(capsys, *command, "--temperature=0.9")
    assert "holds texts of other settings (problems.temperature: 0.2 -> 0.9; functions.temperature" in said
    assert call(capsys, "--workdir", run, "--out", out, "--functions=3", *sampled, "--held_out", problems).startswith("error")


def test_files_of_others_are_left_alone_and_refused_settings_bind_nobody(run, problems, tmp_path, capsys):
    out = tmp_path / "evaluation"
    out.mkdir()
    command = ("--workdir", run, "--out", out, "--problems", problems, "--num_samples=1", "--max_new_tokens=1")
    for name in ("samples.jsonl", "results.jsonl", "summary.json"):
        (out / name).write_text("mine")
        assert f"holds a {name} that is not of this command; choose another --out" in call(capsys, *command)
        assert [(file.name, file.read_text()) for file in out.iterdir()] == [(name, "mine")]
        (out / name).unlink()
    assert "temperature must be 0 or more" in call(capsys, *command, "--temperature=-1")
    assert "samples: 2" in call(capsys, *command)


def test_solutions_are_run_on_request(run, problems, tmp_path, capsys):
    if isolation.probe().missing:
        pytest.skip("this machine cannot isolate programs")
    out = tmp_path / "evaluation"
    command = ("--workdir", run, "--out", out, "--problems", problems, "--num_samples=2", "--max_new_tokens=1", "--timeout=20")
    printed = call(capsys, *command, "--allow_execution")
    summary = json.loads((out / "summary.json").read_text())["problems"]
    assert summary["pass@1"] == 0.5 and summary["passed"] == 2 and summary["parse"] == 1.0 and "pass@10" not in summary
    assert [row["passed"] for row in rows(out / "results.jsonl")] == [True, True, False, False]
    assert "pass@1: 0.5000" in printed


def test_weights_are_measured_on_files_that_are_named(run, corpus, tmp_path, capsys):
    task, variables = open_run(run)
    huggingface.save(tmp_path / "weights", variables["gpt"]["params"], task.model_config)
    ByteTokenizer().save(tmp_path / "weights")  # without sentinels: a language model
    command = ("--weights", tmp_path / "weights", "--out", tmp_path / "evaluation", "--infill_lines=2")
    assert "weights hold out no files; name some with --held_out" in call(capsys, *command)
    shutil.copytree(corpus, tmp_path / "corpus")
    for number in range(40):
        (tmp_path / "corpus" / f"{number}.pyc").write_bytes(b"\xe9a\nb\0c\n" * 50)
    assert "left to right exact match: " in call(capsys, *command, "--held_out", tmp_path / "corpus")
    assert all(row["name"].endswith(".py") for row in rows(tmp_path / "evaluation" / "lines.jsonl"))
    assert rows(tmp_path / "evaluation" / "lines.jsonl")[0].keys() == {"name", "number", "expected", "left_to_right"}


def test_files_that_the_run_did_not_hold_out_are_left_out(run, tmp_path, capsys):
    config = json.loads((run / "config.json").read_text())
    held_out = list(documents(config["data"], "evaluation"))
    shutil.copytree(run, tmp_path / "run")
    entries = [manifest_entry(document, "evaluation") for document in held_out[1:]]
    (tmp_path / "run" / "data_manifest.jsonl").write_text("\n".join(map(json.dumps, entries)))
    options = code_evaluation.parser().parse_args([f"--workdir={tmp_path / 'run'}", "--out=x", "--infill_lines=1000"])
    lines = code_evaluation._passages(options)["lines"]
    assert {line.name for line in lines} == {document.name for document in held_out[1:]}
    assert capsys.readouterr().err.startswith(f"left out of {len(held_out)} held-out documents: 1, which")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--workdir=RUN",), "nothing to measure; ask for --problems FILE, --infill_lines N or --functions N"),
        (("--infill_lines=1",), "name one model: --workdir RUN"),
        (("--workdir=RUN", "--weights=x", "--functions=1"), "name one model"),
        (("--workdir=RUN", "--problems=nowhere.jsonl"), "nowhere.jsonl cannot be read"),
        (("--workdir=RUN", "--functions=1", "--num_samples=0"), "--num_samples is 0; it must be 1 or more"),
        (("--workdir=RUN", "--functions=1", "--workers=0"), "--workers is 0; it must be 1 or more"),
        (("--workdir=RUN", "--functions=1", "--timeout=inf"), "timeout is inf; a limit must be above 0"),
        (("--workdir=RUN", "--functions=-1"), "--functions is -1; it must be 0 or more"),
        (("--workdir=RUN", "--functions=1", "--checkpoint=7"), "there is no checkpoint of step 7"),
        (("--workdir=RUN", "--functions=1", "--held_out=EMPTY"), "the held-out files have no functions to write again"),
        (("--workdir=nowhere", "--functions=1"), "there is no run directory nowhere"),
    ],
)
def test_a_mistake_is_a_sentence(run, tmp_path, capsys, arguments, message):
    (tmp_path / "empty.py").write_text("x = 1\n")
    places = {"RUN": str(run), "EMPTY": str(tmp_path / "empty.py")}
    for name, place in places.items():
        arguments = [argument.replace(name, place) for argument in arguments]
    said = call(capsys, "--out", tmp_path / "evaluation", *arguments)
    assert message in said and said.startswith("error: ") and said.count("\n") == 1
