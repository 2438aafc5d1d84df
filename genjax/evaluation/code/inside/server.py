"""The process that supervisors are forked from: Python and all that they need is loaded once, not for each program."""

import os
import signal
import socket

from . import supervisor


def main(control: int) -> None:
    """Forks a supervisor for each pair of descriptors (order, report) that comes through a socket, until the caller goes.

    This process runs nothing of a program's and holds nothing of its job.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for a supervisor but for its report
    requests = socket.socket(fileno=control)
    while True:
        content, descriptors, _, _ = socket.recv_fds(requests, 1, 2)
        if not content:
            os._exit(0)
        if os.fork() == 0:
            try:
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                requests.close()
                for number, descriptor in enumerate(descriptors):
                    os.dup2(descriptor, number)
                    os.close(descriptor)
                supervisor.main()
            finally:
                os._exit(0)
        for descriptor in descriptors:
            os.close(descriptor)
