"""What the commands `python -m genjax.ROOM.NAME` share: how their arguments are read, and what they exit with."""

import argparse
import sys
from collections.abc import Callable

from genjax.errors import GenjaxError


def command_parser(module: str, text: str | None) -> argparse.ArgumentParser:
    """A parser whose help is a text as it is written.

    Args:
        module: "genjax.ROOM.NAME".
        text: its `__doc__`.
    """
    formatter = argparse.RawDescriptionHelpFormatter
    return argparse.ArgumentParser(prog=f"python -m {module}", description=text, formatter_class=formatter, allow_abbrev=False)


def exit_code(action: Callable[[], object]) -> int:
    """Runs what a command does: 0; 2 after a GenjaxError, which is printed as one line; 130 when the user stopped it."""
    try:
        action()
    except GenjaxError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0
