"""Lines and functions drawn from files: what they hold, how evenly they are drawn, and what counts as a function."""

import ast
import collections
import inspect
import json.decoder
import textwrap
from dataclasses import dataclass

import pytest

from genjax.evaluation.code.passages import held_out_functions, held_out_lines, is_function


@dataclass(frozen=True)
class Document:
    name: str
    text: str
    language: str = "python"


MODULES = [Document(module.__name__, inspect.getsource(module)) for module in (json.decoder, textwrap, collections)]


def test_a_line_with_what_is_around_it_is_the_file():
    texts = {document.name: document.text for document in MODULES}
    chosen = held_out_lines(MODULES, 200, seed=1)
    assert len(chosen) == len(set(chosen)) == 200
    for line in chosen:
        assert line.prefix + line.text + line.suffix == texts[line.name]
        assert line.prefix.endswith("\n") and line.suffix[:1] in ("\n", "") and "\n" not in line.text
        assert texts[line.name].split("\n")[line.number - 1] == line.text
        assert any(map(str.isalnum, line.text))


def test_every_line_is_as_likely_as_another():
    documents = [Document("a", "\nx1\n)\n\nx2"), Document("b", "first\n" + "\n".join(f"y{i}" for i in range(6)))]
    everything = held_out_lines(documents, 100)
    assert [line.text for line in everything] == ["x1", "x2", *(f"y{i}" for i in range(6))]
    counts = collections.Counter(line.text for seed in range(800) for line in held_out_lines(documents, 2, seed))
    assert len(counts) == 8 and all(abs(n - 200) < 5 * (200 * 0.75) ** 0.5 for n in counts.values())
    assert held_out_lines(documents, 2, seed=5) == held_out_lines(documents, 2, seed=5)
    assert held_out_lines([], 3) == []


def test_functions_begin_with_signature_and_docstring_at_the_left_margin():
    chosen = held_out_functions(MODULES, 1000)
    assert len(chosen) > 50
    for function in chosen:
        (node,) = ast.parse(function.prompt).body
        assert isinstance(node, ast.FunctionDef) and ast.get_docstring(node) is not None and len(node.body) == 1
        assert function.prompt.startswith("def ") and function.prompt.endswith("\n")
        assert not is_function(function.prompt) and is_function(function.prompt + "    pass\n")
    (wrap,) = [function for function in chosen if function.prompt.startswith("def wrap(self, text)")]
    source, number = inspect.getsourcelines(textwrap.TextWrapper.wrap)
    assert number == wrap.number and textwrap.dedent("".join(source)).startswith(wrap.prompt)


def test_what_is_no_function_with_a_docstring_is_passed_over():
    sources = [
        "def f():\n    return 1\n",
        'def f():\n    """Only a docstring."""\n',
        'def f(): """Same line."""; return 1\n',
        'def f(:\n    """Broken."""\n    return 1\n',
        'class A:\n    """A class."""\n    x = 1\n',
    ]
    assert held_out_functions([Document("a", source) for source in sources], 10) == []
    good = 'def f():\n    """Doc."""\n    return 1\n'
    assert held_out_functions([Document("a", good, "c")], 10) == []
    assert len(held_out_functions([Document("a", good, ""), Document("b", f"async {good}")], 10)) == 2


@pytest.mark.parametrize(
    ("source", "written"),
    [
        ('def f():\n    """Doc."""\n    return 1\n', True),
        ('def f():\n    """Doc."""\n    pass', True),
        ('def f():\n    """Doc."""\n', False),
        ('def f():\n    """Doc."""\n    return (', False),
        ('def f():\n    """Doc."""\nreturn 1\n', False),
        ("def f():\n    return 1\n", True),
        ("import os\nasync def f():\n    return 1\n", True),
        ("x = 1\n", False),
        ("", False),
    ],
)
def test_a_function_is_written_when_it_does_something(source, written):
    assert is_function(source) is written
