"""Keeps Orbax's account of a failure off the terminal where ours says it in a sentence.

A full disk makes Orbax log five tracebacks from its threads; a damaged checkpoint makes TensorStore's other reads end in an
event loop that is gone. Every one of these failures also reaches the caller as an exception, so nothing is lost.
"""

import logging
import sys
import types
import warnings


class QuietOrbax(logging.Filter):
    """Between `start` and `stop`, drops errors that Orbax and TensorStore log or leave unraisable; all others pass."""

    def start(self) -> None:
        for name in ("absl", "asyncio"):
            logging.getLogger(name).addFilter(self)
        warnings.filterwarnings("ignore", r"coroutine '[\w.]*_(read|get)_array", RuntimeWarning)
        self._previous_hook = sys.unraisablehook
        sys.unraisablehook = self._unraisable

    def stop(self) -> None:
        for name in ("absl", "asyncio"):
            logging.getLogger(name).removeFilter(self)
        if sys.unraisablehook == self._unraisable:
            sys.unraisablehook = self._previous_hook

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.ERROR:
            return True
        error = record.exc_info[1] if record.exc_info else None
        return not ("orbax" in record.pathname or (error is not None and _from_orbax(error, error.__traceback__)))

    def _unraisable(self, args) -> None:
        code = getattr(args.object, "cr_code", None)  # a coroutine that was never finished
        if (code is None or "orbax" not in code.co_filename) and not _from_orbax(args.exc_value, args.exc_traceback):
            self._previous_hook(args)


def _from_orbax(error: BaseException | None, trace: types.TracebackType | None) -> bool:
    while trace is not None:
        if "orbax" in trace.tb_frame.f_code.co_filename:
            return True
        trace = trace.tb_next
    text = str(error)
    return text == "Event loop is closed" or any(word in text.lower() for word in ("tensorstore", "ocdbt", "os_error_code"))
