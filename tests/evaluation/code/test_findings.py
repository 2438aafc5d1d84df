"""What is found in suggestions, against code whose faults are known."""

import json
from dataclasses import dataclass

import pytest

from genjax.errors import RequestError
from genjax.evaluation.code import findings
from genjax.evaluation.code.findings import describe, examine
from genjax.evaluation.verbatim import VerbatimIndex

pytest.importorskip("bandit")


@dataclass(frozen=True)
class Document:
    name: str
    text: str
    licence: str


def rules(issues):
    return [(issue["line"], issue["rule"]) for issue in issues]


def test_issues_are_those_of_the_suggestions_own_lines():
    prefix = "import pickle\nimport subprocess\n\n\ndef f(command):\n    "
    suggestion = "subprocess.call(command, shell=True)  # nosec  # noqa\n    return eval(undefined)\n"
    suffix = "\n\nassert missing\n"
    found = examine(suggestion, prefix, suffix)
    assert found["parses"] is True
    assert rules(found["security"]) == [(6, "B602"), (7, "B307")]  # not the imports (B403, B404), not the assert (B101)
    assert found["security"][0]["severity"] == "high"
    assert rules(found["lint"]) == [(7, "F821")]  # not the unused import before (F401), not `missing` after
    assert found["verbatim"] is None
    assert examine(suggestion, prefix)["parses"] is True and examine(suggestion, suffix=suffix)["parses"] is False
    json.dumps(found)


@pytest.mark.parametrize(
    "source",
    [
        "def f(:\n",
        "f(",
        "x = 'a",
        " indented\nbadly",
        "a\0b",
        "'\ud800'",
        "-" * 100_000 + "1",
        "a" + ".a" * 100_000,
        "if 1: pass\n" + "elif 1: pass\n" * 20_000,
        "[" * 10_000,
        "1" * 5_000,
    ],
)
def test_what_is_not_python_does_not_parse_and_is_not_scanned(source):
    found = examine(source)
    assert found["parses"] is False and found["security"] is None
    json.dumps(found)


def test_of_broken_code_the_first_error_is_told():
    found = examine("    x = (1\n  y]\n  def )\n", "def f():\n    a = missing\n")
    assert found["parses"] is False and rules(found["lint"]) == [(4, "invalid-syntax")]


def test_another_language_is_neither_parsed_nor_linted():
    assert examine("int main() { return 0; }", language="c") == {"parses": None, "security": None, "lint": None, "verbatim": None}


def test_a_repeat_is_flagged_with_its_place_and_a_common_phrase_is_not():
    line = " + ".join(f"weight_{i} * feature_{i}" for i in range(20))
    index = VerbatimIndex.build([Document("model/score.py", f"# scores\n\ntotal = {line}\n", "MIT")])
    repeated = examine(f"def score():\n    return {line}\n", index=index)["verbatim"]
    assert repeated["flagged"] and repeated["num_tokens"] == 79
    assert (repeated["name"], repeated["licence"], repeated["line"]) == ("model/score.py", "MIT", 3)
    shorter = examine("weight_1 * feature_1", index=index)["verbatim"]
    assert (shorter["num_tokens"], shorter["flagged"]) == (3, False)
    assert examine("weight_1 * feature_1", index=index, flagged_tokens=3)["verbatim"]["flagged"]
    assert examine("novel", index=index)["verbatim"] == {"num_tokens": 0, "flagged": False}


def test_findings_are_told_in_lines():
    index = VerbatimIndex.build([Document("a.py", "x = eval(y) " * 20, "")])
    assert describe(examine("x = eval(y)\n", index=index, flagged_tokens=4)).splitlines() == [
        "parses",
        "security, medium: Use of possibly insecure function - consider using safer ast.literal_eval. (B307, line 1)",
        "lint: Undefined name `y` (F821, line 1)",
        "repeats 6 tokens of the training data: a.py, line 1, licence unknown",
    ]
    assert describe(examine("x = 1", index=index)).splitlines() == [
        "parses",
        "shares at most 2 tokens in a row with the training data",
    ]
    assert describe(examine("x = (", language="c")) == ""


def test_a_linter_is_found_or_there_are_no_lint_findings(monkeypatch):
    monkeypatch.setattr(findings, "_ruff", lambda source: None)
    monkeypatch.setattr(findings.importlib.util, "find_spec", lambda name: None if name == "pyflakes" else name)
    assert examine("x = y\n")["lint"] is None


def test_pyflakes_takes_the_place_of_ruff(monkeypatch):
    pytest.importorskip("pyflakes")
    monkeypatch.setattr(findings, "_ruff", lambda source: None)
    assert examine("import os\nx = y\n")["lint"] == [
        {"line": 1, "rule": "UnusedImport", "message": "'os' imported but unused"},
        {"line": 2, "rule": "UndefinedName", "message": "undefined name 'y'"},
    ]
    assert examine("x = (")["lint"] == []


def test_a_scanner_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setattr(findings.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RequestError, match=r"bandit, which is not installed; pip install 'genjax\[code\]'"):
        examine("x = 1")


def test_nothing_is_said_on_the_terminal(capfd):
    examine("x = '\\d'\ny = [1](2)\nz = 1 is 1\n")
    assert capfd.readouterr() == ("", "")
