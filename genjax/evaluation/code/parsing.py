"""Whether a text is Python at all, however hostile it is."""

import ast
import warnings


def parse(source: str) -> ast.Module | None:
    """The syntax tree, or None: not Python of this version, or nested deeper than its parser goes. Nothing is run."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of escapes that a later Python refuses
        try:
            return ast.parse(source)
        except (SyntaxError, ValueError, RecursionError, MemoryError):  # the parser calls it so when its own stack is full
            return None


def parses(source: str) -> bool:
    """Whether `parse` has a tree."""
    return parse(source) is not None
