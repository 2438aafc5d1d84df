"""The tester's process: runs the tests, which call the program in its own process, and writes the verdict."""

import json
import os
import time
import types
from collections.abc import Mapping
from typing import Any, NoReturn

from . import confinement, kernel, solution, wire

TEST = "<test>"
LONGEST_REASON = 1000  # characters
FUNCTIONS = (types.FunctionType, types.MethodType, types.BuiltinFunctionType, type)


def main(order: Mapping[str, Any], users: tuple[int, int] | None, verdict: int, output: int) -> NoReturn:
    """Starts the program's process, then reads the job (solution, setup, tests) from standard input.

    The program's process is forked before the job is read, so the tests are nowhere in its memory. The verdict is a JSON object
    with `passed` and `reason`, or `refused` where this machine does not allow what the plan says.
    """

    def conclude(**result: Any) -> NoReturn:
        os.write(verdict, json.dumps(result).encode())
        os._exit(0)

    def lost(reason: str) -> NoReturn:
        conclude(passed=False, reason=f"{reason}{_end_of(program)}")

    try:
        for number in (1, 2):
            os.dup2(output, number)
        if not order["plan"]["namespaces"]:
            os.setsid()  # the group to be killed
        to_program, from_program = os.pipe(), os.pipe()
        program = os.fork()
        if program == 0:
            solution.main(order, users[1] if users else None, to_program[0], from_program[1], output)
        for descriptor in (to_program[0], from_program[1], output):
            os.close(descriptor)
        confinement.confine(order, users[0] if users else None, hidden=True)
        peer = wire.Peer(from_program[0], to_program[1], _operations(), lost)
        ready = peer.receive()
        if ready[0] == "refused":
            conclude(refused=str(ready[1]))
        job = json.loads(_read_all(0))
    except (OSError, MemoryError) as error:
        conclude(refused=kernel.explain(error))
    try:
        _run(job, peer)
    except BaseException as error:  # tests and program may raise anything
        conclude(passed=False, reason=_reason(error, job["test"]))
    conclude(passed=True, reason="")


def _run(job: Mapping[str, Any], peer: wire.Peer) -> None:
    for source, name in ((job["solution"], "<solution>"), (job["setup"], "<setup>")):
        peer.request("run", source, name)
    space: dict[str, Any] = {"__name__": TEST}
    exec(compile(job["given"], "<given>", "exec"), space)
    space |= peer.request("names", job["exports"])
    exec(compile(job["test"], TEST, "exec"), space)


def _operations() -> dict[str, Any]:
    """What the program may ask of the tests' objects: a function or class that it was given may be called, and an instance of a
    class of the tests' own has attributes. Everything else of Python's inner life stays out of reach."""

    def call(function: Any, arguments: list, named: dict) -> Any:
        if not isinstance(function, FUNCTIONS):
            raise TypeError("this object of the test cannot be called")
        return function(*arguments, **named)

    def own(value: Any, name: Any) -> None:
        if type(value).__module__ != TEST or not isinstance(name, str) or name.startswith("_"):
            raise AttributeError(f"{name!r} of this object of the test cannot be reached")

    def attribute(value: Any, name: Any) -> Any:
        own(value, name)
        return getattr(value, name)

    def set_attribute(value: Any, name: Any, content: Any) -> None:
        own(value, name)
        setattr(value, name, content)

    return wire.OPERATIONS | {"call": call, "attribute": attribute, "set_attribute": set_attribute}


def _reason(error: BaseException, test: str) -> str:
    """What went wrong, and on which line of the test."""
    name, text = type(error).__name__, str(error)
    reason = f"{name}: {text}" if text else name
    number, step = 0, error.__traceback__
    while step is not None:
        number = step.tb_lineno if step.tb_frame.f_code.co_filename == TEST else number
        step = step.tb_next
    lines = test.splitlines()
    if 0 < number <= len(lines):
        reason += f" (test, line {number}: {lines[number - 1].strip()})"
    return reason[:LONGEST_REASON]


def _end_of(program: int) -> str:
    """How the program's process ended, if it has."""
    for _ in range(20):  # it closes its files a moment before it can be waited for
        process, status = os.waitpid(program, os.WNOHANG)
        if process:
            code = os.waitstatus_to_exitcode(status)
            return f" (exit status {code})" if code >= 0 else f" (signal {-code})"
        time.sleep(0.001)
    return ""


def _read_all(descriptor: int) -> bytes:
    parts = []
    while part := os.read(descriptor, 1 << 20):
        parts.append(part)
    return b"".join(parts)
