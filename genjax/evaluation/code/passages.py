"""Passages of held-out files that a model is to write again: single lines to fill in, and functions after their docstring."""

import ast
import random
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeVar

from genjax.evaluation.code.parsing import parse

Passage = TypeVar("Passage")


class Document(Protocol):
    """A file: `language` is "python", or "" where it is not known."""

    name: str
    text: str
    language: str


@dataclass(frozen=True)
class Line:
    """A line of a file, without its line end, and the text before and after it; `number` counts from 1."""

    name: str
    number: int
    prefix: str
    text: str
    suffix: str


@dataclass(frozen=True)
class Function:
    """The beginning of a function, moved to the left margin: its signature and docstring, up to the end of the line."""

    name: str
    number: int
    prompt: str


def held_out_lines(documents: Iterable[Document], count: int, seed: int = 0) -> list[Line]:
    """At most `count` lines, every one of the documents as likely as another; the same for the same seed.

    A line has a letter or digit in it (not a lone bracket), and is not the first of its file.
    """
    places = ((document, *place) for document in documents for place in _places(document.text))
    chosen = _choose(places, count, seed)
    return [Line(d.name, number, d.text[:start], d.text[start:end], d.text[end:]) for d, number, start, end in chosen]


def held_out_functions(documents: Iterable[Document], count: int, seed: int = 0) -> list[Function]:
    """At most `count` functions and methods of Python that have a docstring and a body after it, drawn like lines."""
    python = (document for document in documents if document.language in ("", "python"))
    return _choose((function for document in python for function in _functions(document)), count, seed)


def is_function(source: str) -> bool:
    """Whether the source is Python and its first function does something after its docstring (`pass` is enough)."""
    tree = parse(source)
    functions = () if tree is None else [node for node in tree.body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
    return bool(functions) and len(functions[0].body) > (ast.get_docstring(functions[0], clean=False) is not None)


def _choose(passages: Iterable[Passage], count: int, seed: int) -> list[Passage]:
    """Reservoir sampling (Vitter, 1985, algorithm R): `count` of a stream of any length."""
    draw, chosen = random.Random(seed), []
    for number, passage in enumerate(passages):
        if number < count:
            chosen.append(passage)
        elif (place := draw.randrange(number + 1)) < count:
            chosen[place] = passage
    return chosen


def _places(text: str) -> Iterator[tuple[int, int, int]]:
    """(number, start, end) of each line that may be chosen."""
    start = 0
    for number, line in enumerate(text.split("\n"), 1):
        if number > 1 and any(character.isalnum() for character in line):
            yield number, start, start + len(line)
        start += len(line) + 1


def _functions(document: Document) -> Iterator[Function]:
    tree = parse(document.text)
    lines = document.text.split("\n")
    for node in () if tree is None else ast.walk(tree):
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) or len(node.body) < 2:
            continue
        if ast.get_docstring(node, clean=False) is None or node.body[1].lineno <= node.body[0].end_lineno:
            continue
        prompt = textwrap.dedent("\n".join(lines[node.lineno - 1 : node.body[0].end_lineno])) + "\n"
        if parse(prompt) is not None:  # a docstring may stand further to the left than its function
            yield Function(document.name, node.lineno, prompt)
