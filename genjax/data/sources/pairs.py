"""Pairs of prompt and completion: two fields of JSON lines, or Python functions with docstrings, taken from source files."""

import ast
import sys
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from genjax.data.code.duplicates import exact_key
from genjax.data.hashing import digest
from genjax.data.sources.document import Document, Source
from genjax.data.sources.jsonl import JsonLines
from genjax.errors import DataError

FORMAT = "2"  # of the functions: change it when the same source gives other pairs than before


@dataclass(frozen=True)
class Pair(Document):
    """A prompt and its completion; `text` is one after the other.

    Attributes:
        prompt_length: characters of `text` that are the prompt.
    """

    prompt_length: int = 0

    @property
    def prompt(self) -> str:
        return self.text[: self.prompt_length]

    @property
    def completion(self) -> str:
        return self.text[self.prompt_length :]

    @property
    def parts(self) -> tuple[str, ...]:
        return self.prompt, self.completion


@dataclass(frozen=True)
class PairLines:
    """Two fields of each record of JSON lines, word for word. Records without a completion, or (where `lines` leaves such out)
    with what is no text, are left out; a source with no others is an error. Pairs of one prompt are a group.

    Attributes:
        lines: the records; its `text_field` is the field of the completion.
    """

    lines: JsonLines
    prompt_field: str = "prompt"

    @property
    def title(self) -> str:
        return self.lines.title

    @cached_property
    def fingerprint(self) -> str:
        return digest("pairs", self.prompt_field, self.lines.fingerprint)

    def __iter__(self) -> Iterator[Pair]:
        pairs = 0
        for name, record in self.lines.records():
            prompt = self._text(record, self.prompt_field, name, "data.prompt_field")
            completion = self._text(record, self.lines.text_field, name, "data.completion_field")
            if completion and prompt is not None:
                pairs += 1
                document = self.lines.fields.document(record, name, prompt + completion)
                yield Pair(**vars(document) | {"group": prompt or completion, "prompt_length": len(prompt)})
        if not pairs:
            raise DataError(f"{self.title} holds no line with a completion in the field {self.lines.text_field!r}.")

    def _text(self, record: Mapping[str, Any], field: str, name: str, key: str) -> str | None:
        text = self.lines.text_of(record, field, name, key)
        return None if any("\ud800" <= c <= "\udfff" for c in text) else text


@dataclass(frozen=True)
class FunctionPairs:
    """The functions of Python documents, see `functions_of`; documents in other languages are passed over. The functions of one
    document are on one side of the held-out split, and of equal ones, which authors copy from file to file, only the first is
    kept, so that none is on both.

    Attributes:
        source: the documents. Their language may be unknown (""): then what does not parse is passed over too.
        held_out: functions that are kept for evaluation elsewhere: equal ones are left out.
    """

    source: Source
    held_out: "FunctionPairs | None" = None

    @property
    def title(self) -> str:
        return f"the functions of {self.source.title}"

    @cached_property
    def fingerprint(self) -> str:
        others = [self.held_out.fingerprint] if self.held_out else []
        return digest("functions", FORMAT, repr(sys.version_info[:2]), self.source.fingerprint, *others)

    def __iter__(self) -> Iterator[Pair]:
        pairs = 0
        seen = {exact_key(pair.text) for pair in self.held_out or ()}
        for document in self.source:
            if document.language not in ("", "python"):
                continue
            for line, prompt, completion in functions_of(document.text):
                if (key := exact_key(prompt + completion)) in seen:
                    continue
                seen.add(key)
                pairs += 1
                changed = {"name": f"{document.name}:{line}", "text": prompt + completion, "prompt_length": len(prompt)}
                yield Pair(**vars(document) | changed | {"group": document.group or document.name})
        if not pairs:
            raise DataError(f"{self.source.title} has no Python function with a docstring; use other data.")


def functions_of(source: str) -> list[tuple[int, str, str]]:
    """(line from 1, prompt, completion) of every function and method that has a docstring and a body, in the order of the file.

    The prompt is the lines from the first decorator or `def` to the end of the docstring, the completion those from the first
    that is not blank after it to the end of the function; both end with a line end. What stands indented is moved to the left
    margin, its multi-line strings with it. Left out are functions that are written in one line with their docstring, that have
    lines further left than their `def`, and whose body is `pass`, `...` or NotImplementedError. What does not parse has none.
    """
    source = source.replace("\r\n", "\n").replace("\r", "\n")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of invalid escapes in other people's strings
            tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    lines = source.split("\n")
    functions = [node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
    found = [_function(node, lines) for node in functions]
    return sorted(pair for pair in found if pair is not None)


def _function(node: ast.FunctionDef | ast.AsyncFunctionDef, lines: list[str]) -> tuple[int, str, str] | None:
    docstring, *body = node.body
    if not (ast.get_docstring(node, clean=False) or "").strip() or not body or all(map(_says_nothing, body)):
        return None
    if body[0].lineno <= docstring.end_lineno:
        return None
    first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
    indent = lines[node.lineno - 1][: node.col_offset]
    whole = lines[first - 1 : node.end_lineno]
    if indent.strip() or any(line.strip() and not line.startswith(indent) for line in whole):
        return None
    whole = [line.removeprefix(indent) if line.strip() else line[len(indent) :] for line in whole]
    cut = docstring.end_lineno - first + 1
    prompt, completion = whole[:cut], whole[cut:]
    while not completion[0].strip():
        del completion[0]
    return first, "\n".join(prompt) + "\n", "\n".join(completion) + "\n"


def _says_nothing(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.Pass):
        return True
    if isinstance(statement, ast.Expr):
        return isinstance(statement.value, ast.Constant)
    if isinstance(statement, ast.Raise) and statement.exc is not None:
        raised = statement.exc.func if isinstance(statement.exc, ast.Call) else statement.exc
        return isinstance(raised, ast.Name) and raised.id == "NotImplementedError"
    return False
