"""Errors that are meant for the person at the keyboard.

Commands print a `GenjaxError` as one sentence and exit with 2; every other exception is a defect of ours
and keeps its traceback. A message says what was given, what was expected and what to do.
"""


class GenjaxError(Exception):
    """What was given cannot be used; the message says what to do."""


class ConfigError(GenjaxError):
    """A config key, value or combination of values is not usable."""


class DataError(GenjaxError):
    """A data file is missing, empty or not what it should be."""


class CheckpointError(GenjaxError):
    """A checkpoint or weights folder cannot be read, or does not fit the model."""


class RequestError(GenjaxError):
    """A request to sample cannot be served: prompt too long, unknown knob, missing image."""


class RunError(GenjaxError):
    """The run cannot go on: directory in use, disk full, loss not finite."""
