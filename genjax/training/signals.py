"""SIGTERM and SIGINT: finish the step, save, leave.

In a run of several processes all must stop after the same step, whoever got the signal. JAX's preemption service does that: it
listens for SIGTERM in every process and names a step that none has passed. Where it is switched off, the flags are compared
with a small all-gather every few steps.
"""

import os
import signal
import threading
from types import FrameType

import jax
import numpy as np
from jax.experimental import multihost_utils


class StopSignal:
    """Within the context, SIGTERM and a first SIGINT ask for a stop; a second SIGINT raises KeyboardInterrupt at once.

    Args:
        agree_every: steps between two comparisons of the flags, in runs of several processes without the preemption service.
    """

    def __init__(self, agree_every: int = 20):
        self._agree_every = agree_every
        self._asked = ""
        self._stop = False
        self._previous: dict[int, object] = {}
        self._several = False
        self._service = False

    @property
    def name(self) -> str:
        """Which signal asked: "SIGTERM" (also for any signal to another process), "SIGINT", or "" for none."""
        return self._asked or ("SIGTERM" if self._stop else "")

    def stop_after(self, step: int) -> bool:
        """Whether to stop after `step`; the same answer in all processes. Call it after every step, in every process.

        Without other processes, the answer is that of a flag. It stays True once it was.
        """
        if not self._several:
            self._stop = self._stop or bool(self._asked)
        elif self._service:
            self._stop = self._stop or multihost_utils.reached_preemption_sync_point(step)
        elif not self._stop and step % self._agree_every == 0:
            self._stop = bool(np.max(multihost_utils.process_allgather(np.int32(bool(self._asked)))))
        return self._stop

    def __enter__(self) -> "StopSignal":
        self._several = jax.process_count() > 1
        self._service = self._several and _preemption_service()
        # With the service, SIGTERM is its own: a Python handler in its place would hide the signal from it.
        numbers = (signal.SIGINT,) if self._service else (signal.SIGINT, signal.SIGTERM)
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._receive) for number in numbers}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self._asked:
            raise KeyboardInterrupt
        self._asked = self._asked or signal.Signals(number).name
        if self._service:
            os.kill(os.getpid(), signal.SIGTERM)  # tells the service, and through it the other processes


def _preemption_service() -> bool:
    try:
        multihost_utils.reached_preemption_sync_point(-1)
    except RuntimeError:  # switched off by jax_enable_preemption_service
        return False
    return True
