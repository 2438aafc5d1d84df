"""The program's process: runs the untrusted code and answers the tester's questions about what it defines."""

import os
import sys
from collections.abc import Mapping
from typing import Any, NoReturn

from . import confinement, kernel, wire


def main(order: Mapping[str, Any], user: int | None, reading: int, writing: int, output: int) -> NoReturn:
    """Confines this process, says so, and answers until the tester goes."""
    nothing = os.open("/dev/null", os.O_RDONLY)
    for descriptor, number in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(descriptor, number)
    _close_all_but(reading, writing)
    space: dict[str, Any] = {}

    def lost(reason: str) -> NoReturn:
        os._exit(0)

    operations = wire.OPERATIONS | {
        "run": lambda source, name: exec(compile(source, name, "exec"), space),
        "names": lambda names: {name: space[name] for name in names if name in space},
    }
    peer = wire.Peer(reading, writing, operations, lost)
    try:
        confinement.confine(order, user, hidden=False)
    except OSError as error:
        peer.send(["refused", kernel.explain(error)])
        os._exit(1)
    sys.argv[:] = [""]
    peer.send(["ready"])
    peer.serve()


def _close_all_but(*kept: int) -> None:
    """Nothing of the supervisor's or the tester's stays open here."""
    first = 3
    for descriptor in (*sorted(kept), os.sysconf("SC_OPEN_MAX")):
        os.closerange(first, descriptor)
        first = descriptor + 1
