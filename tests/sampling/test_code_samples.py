"""What is asked of a model for its evaluation, and what of it is kept when that stops and goes on."""

import json
from types import SimpleNamespace

import pytest

from genjax.data.tokenizers.byte import ByteTokenizer
from genjax.errors import RequestError
from genjax.evaluation.code.passages import Function, Line
from genjax.evaluation.code.problems import Problem
from genjax.sampling import code_samples
from genjax.sampling.code_samples import fill_lines, sample_problems, write_functions


class Writer:
    """Answers every wish with what it was asked; breaks off after `last` calls."""

    def __init__(self, sentinels=True, last=None):
        self.asked, self.last = [], last
        task = SimpleNamespace(
            sentinels=sentinels or None,
            info=SimpleNamespace(tokenizer=ByteTokenizer()),
            model_config=SimpleNamespace(context_length=64),
        )
        self.sampler = SimpleNamespace(task=task)

    def __call__(self, wishes, num_samples):
        if self.last is not None and len(self.asked) >= self.last:
            raise KeyboardInterrupt
        self.asked.append(wishes)
        return [[f"{wish.get('prompt', wish.get('suffix'))}{number}" for number in range(num_samples)] for wish in wishes]


PROBLEMS = [Problem(f"T/{i}", f"def f{i}", f"f{i}", "", stop=(f"\nstop{i}",)) for i in range(5)]
ROWS = [{"task_id": f"T/{i}", "completion": f"def f{i}{n}"} for i in range(5) for n in range(3)]


def lines(file):
    return [json.loads(line) for line in file.read_text().splitlines()]


@pytest.fixture(autouse=True)
def small_groups(monkeypatch):
    monkeypatch.setattr(code_samples, "TEXTS_AT_ONCE", 6)


def test_problems_are_sampled_in_groups_and_in_order(tmp_path):
    write = Writer()
    assert sample_problems(write, PROBLEMS, 3, tmp_path / "samples.jsonl") == ROWS == lines(tmp_path / "samples.jsonl")
    assert [len(wishes) for wishes in write.asked] == [2, 2, 1]
    assert write.asked[0][1] == {"prompt": "def f1", "stop": ("\nstop1",)}


@pytest.mark.parametrize("torn", ["", '{"task_id": "T/4", "comp', '{"task_id": "T/4", "completion": "x"}\n{"task'])
def test_what_was_kept_is_not_sampled_again(tmp_path, torn):
    file = tmp_path / "samples.jsonl"
    with pytest.raises(KeyboardInterrupt):
        sample_problems(Writer(last=2), PROBLEMS, 3, file)
    assert lines(file) == ROWS[:12]
    with open(file, "a") as stream:
        stream.write(torn)
    write = Writer()
    assert sample_problems(write, PROBLEMS, 3, file) == ROWS == lines(file)
    assert [[wish["prompt"] for wish in wishes] for wishes in write.asked] == [["def f4"]]
    again = Writer()
    assert sample_problems(again, PROBLEMS, 3, file) == ROWS and again.asked == []


def test_a_damaged_file_is_named(tmp_path):
    file = tmp_path / "samples.jsonl"
    file.write_text('{"task_id": "T/0"\n{"task_id": "T/1", "completion": ""}\n')
    with pytest.raises(RequestError, match="samples.jsonl:1 is not JSON.*; remove the line, or choose another --out"):
        sample_problems(Writer(), PROBLEMS, 3, file)
    file.write_text('{"task_id": "T/0", "completion": ""}\n{"completion": ""}\n')
    with pytest.raises(RequestError, match="samples.jsonl:2 is no row of problems .'task_id'.; remove the line"):
        sample_problems(Writer(), PROBLEMS, 3, file)


LINES = [Line("a.py", number, f"before{number}\n", "x" * number, f"\nafter{number}") for number in (2, 4, 7)]


def test_lines_are_written_from_left_to_right_and_in_both_orders(tmp_path):
    write = Writer()
    rows = fill_lines(write, LINES, tmp_path / "lines.jsonl")
    assert rows == lines(tmp_path / "lines.jsonl")
    assert rows[1] == {
        **{"name": "a.py", "number": 4, "expected": "xxxx"},
        **{"left_to_right": "before4\n0", "psm": "\nafter40", "spm": "\nafter40"},
    }
    shared = {"temperature": 0.0, "max_new_tokens": 8, "stop": ("\n",)}
    gap = {"prefix": "before2\n", "suffix": "\nafter2"}
    expected = [{"prompt": "before2\n"}, gap | {"infill_order": "psm"}, gap | {"infill_order": "spm"}]
    assert [wishes[0] for wishes in write.asked[:3]] == [shared | wish for wish in expected]


def test_a_model_without_sentinels_writes_from_left_to_right_alone(tmp_path):
    rows = fill_lines(Writer(sentinels=False), LINES, tmp_path / "lines.jsonl")
    assert [row.keys() for row in rows] == [{"name", "number", "expected", "left_to_right"}] * 3


def test_functions_keep_their_completions_together(tmp_path):
    functions = [Function("a.py", number, f"def f{number}():\n") for number in (1, 9)]
    write = Writer()
    rows = write_functions(write, functions, 2, tmp_path / "functions.jsonl")
    assert rows[1]["number"] == 9 and rows[1]["completions"] == ["def f9():\n0", "def f9():\n1"]
    assert write.asked == [[{"prompt": function.prompt, "function": True} for function in functions]]
