"""The train loop."""

from genjax.training.compile_only import compile_only
from genjax.training.loop import Result, train

__all__ = ["Result", "compile_only", "train"]
