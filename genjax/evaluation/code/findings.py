"""What can be said of a suggestion without running it: whether it parses, what scanner and linter say, what it repeats."""

import ast
import contextlib
import dataclasses
import importlib.util
import json
import logging
import shutil
import subprocess
import sysconfig
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from genjax.errors import RequestError
from genjax.evaluation.code.parsing import parse
from genjax.evaluation.verbatim import FLAGGED_TOKENS, VerbatimIndex

NAME = "suggestion.py"
RUFF_RULES = "E4,E7,E9,F"  # imports, statements, syntax and names: what may be wrong, not how it looks
LINT_SECONDS = 20  # a linter that takes longer has no findings


def examine(
    suggestion: str,
    prefix: str = "",
    suffix: str = "",
    *,
    language: str = "python",
    index: VerbatimIndex | None = None,
    flagged_tokens: int = FLAGGED_TOKENS,
) -> dict[str, Any]:
    """The findings of a suggestion between a prefix and a suffix, JSON-ready. Nothing of it is run.

    Args:
        suggestion: what a model wrote.
        prefix, suffix: the code around it. Only issues in the suggestion's own lines are given.
        language: parsing, scanner and linter are for "python".
        index: of the corpus that it may repeat.
        flagged_tokens: from how many tokens on a shared run is flagged.

    Returns:
        parses     whether prefix, suggestion and suffix together are Python; None for other languages.
        security   bandit's issues: rule, severity, confidence, message and line (of the whole text, from 1). None where there is
                   nothing to scan: another language, or code that does not parse.
        lint       ruff's, else pyflakes' issues: rule, message and line; of code that does not parse only the first, which the
                   others follow from. None for another language or without a linter.
        verbatim   the longest run shared with the corpus: num_tokens, flagged, and the fields of `Match`; None without an index.

    Raises:
        RequestError: Python, and bandit is not installed.
    """
    source = prefix + suggestion + suffix
    first = prefix.count("\n") + 1
    lines = range(first, first + suggestion.removesuffix("\n").count("\n") + 1)
    python = language == "python"
    tree = parse(source) if python else None
    sound = tree is not None if python else None
    own = lambda issues: None if issues is None else [issue for issue in issues if issue["line"] in lines]  # noqa: E731
    lint = own(_lint(source, tree)) if python else None
    return {
        "parses": sound,
        "security": own(_scan(source)) if sound else None,
        "lint": lint if sound or not lint else lint[:1],
        "verbatim": None if index is None else _verbatim(suggestion, index, flagged_tokens),
    }


def check_installed() -> None:
    """Raises RequestError where the scanner is missing; call it before anything is sampled."""
    if importlib.util.find_spec("bandit") is None:
        raise RequestError("findings need the security scanner bandit, which is not installed; pip install 'genjax[code]'.")


def describe(findings: Mapping[str, Any]) -> str:
    """A line for each finding, for a person."""
    lines = [] if findings["parses"] is None else ["parses" if findings["parses"] else "does not parse"]
    for issue in findings["security"] or ():
        lines.append(f"security, {issue['severity']}: {issue['message']} ({issue['rule']}, line {issue['line']})")
    for issue in findings["lint"] or ():
        lines.append(f"lint: {issue['message']} ({issue['rule']}, line {issue['line']})")
    verbatim = findings["verbatim"]
    if verbatim is not None and verbatim["flagged"]:
        place = f"{verbatim['name']}, line {verbatim['line']}, licence {verbatim['licence'] or 'unknown'}"
        lines.append(f"repeats {verbatim['num_tokens']} tokens of the training data: {place}")
    elif verbatim is not None:
        lines.append(f"shares at most {verbatim['num_tokens']} tokens in a row with the training data")
    return "\n".join(lines)


def _verbatim(suggestion: str, index: VerbatimIndex, flagged_tokens: int) -> dict[str, Any]:
    match = index.longest(suggestion)
    if match is None:
        return {"num_tokens": 0, "flagged": False}
    return {"flagged": match.num_tokens >= flagged_tokens, **dataclasses.asdict(match)}


def _scan(source: str) -> list[dict[str, Any]]:
    """Bandit's issues. What the code says of itself (`# nosec`) does not count: a model may have written that too."""
    check_installed()
    with _quiet("bandit", "stevedore"), tempfile.TemporaryDirectory() as folder:
        from bandit.core.config import BanditConfig
        from bandit.core.manager import BanditManager

        path = Path(folder, NAME)
        path.write_bytes(source.encode("utf-8", "replace"))
        manager = BanditManager(BanditConfig(), "file", quiet=True, ignore_nosec=True)
        manager.discover_files([str(path)])
        manager.run_tests()
    return [
        {
            "line": issue.lineno,
            "rule": issue.test_id,
            "severity": issue.severity.lower(),
            "confidence": issue.confidence.lower(),
            "message": issue.text,
        }
        for issue in sorted(manager.get_issue_list(), key=lambda issue: (issue.lineno, issue.test_id))
    ]


def _lint(source: str, tree: ast.Module | None) -> list[dict[str, Any]] | None:
    issues = _ruff(source)
    return _pyflakes(tree) if issues is None else issues


def _ruff(source: str) -> list[dict[str, Any]] | None:
    """Ruff's classic rules, whatever the folder's own settings and the code's own `# noqa` say; None without ruff."""
    beside = Path(sysconfig.get_path("scripts"), "ruff")
    program = str(beside) if beside.is_file() else shutil.which("ruff")
    if program is None:
        return None
    rules = ("--isolated", "--ignore-noqa", f"--select={RUFF_RULES}")
    command = [program, "check", *rules, "--no-cache", "--output-format=json", f"--stdin-filename={NAME}", "-"]
    try:
        done = subprocess.run(command, input=source.encode("utf-8", "replace"), capture_output=True, timeout=LINT_SECONDS)
        found = json.loads(done.stdout)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
    return [{"line": i["location"]["row"], "rule": i["code"] or "invalid-syntax", "message": i["message"]} for i in found]


def _pyflakes(tree: ast.Module | None) -> list[dict[str, Any]] | None:
    if importlib.util.find_spec("pyflakes") is None:
        return None
    from pyflakes.checker import Checker

    found = [] if tree is None else sorted(Checker(tree, NAME).messages, key=lambda message: message.lineno)
    return [{"line": m.lineno, "rule": type(m).__name__, "message": m.message % m.message_args} for m in found]


@contextlib.contextmanager
def _quiet(*loggers: str) -> Iterator[None]:
    """Keeps libraries' log lines, and the parser's opinion of escapes, from the terminal."""
    logs = [logging.getLogger(name) for name in loggers]
    levels = [log.level for log in logs]
    for log in logs:
        log.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for log, level in zip(logs, levels, strict=True):
            log.setLevel(level)
