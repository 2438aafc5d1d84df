"""Charts of what commands measure."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from genjax.sampling.summaries import writing


@contextlib.contextmanager
def chart(file: Path, rows: int = 1, columns: int = 1, size: tuple[float, float] = (5.5, 4.0)) -> Iterator[np.ndarray]:
    """Gives the axes of a new figure, (rows, columns), and writes the figure once they are drawn on.

    Args:
        size: of the figure in inches, (width, height).

    Raises:
        RequestError: the file cannot be written.
    """
    from matplotlib.figure import Figure  # takes a while to import

    figure = Figure(figsize=size)
    yield figure.subplots(rows, columns, squeeze=False)
    with writing(file):
        figure.savefig(file, dpi=120, bbox_inches="tight")
