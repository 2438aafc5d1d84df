"""The findings of what was written: requests that ask for them, the run's verbatim index, and artifacts that carry them.

A task only notes in an artifact's metadata that findings are wanted (`"findings": None`), and stays free of files and programs.
"""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from genjax.errors import RequestError
from genjax.evaluation.code.findings import check_installed, examine
from genjax.evaluation.verbatim import VerbatimIndex
from genjax.sampling.writers import around
from genjax.tasks.contract import Artifact

VERBATIM = "verbatim"  # the folder of the index in a run directory

Examiner = Callable[[Sequence[Artifact]], list[Artifact]]


def examiner(requests: Sequence[Any], folder: Path | str, *, streamed: bool = False) -> Examiner | None:
    """What puts findings into the artifacts of requests; None where no request asks for any.

    Args:
        requests: with or without a field `findings`.
        folder: the run directory or weights folder; its `verbatim/` is used where there is one.
        streamed: whether the texts go to the terminal while they are written.

    Raises:
        RequestError: findings of a streamed text, or without the security scanner.
        DataError: the index is damaged.
    """
    if not any(getattr(request, "findings", False) for request in requests):
        return None
    if streamed:
        raise RequestError("findings are of finished texts; leave out --stream.")
    check_installed()
    place = Path(folder, VERBATIM)
    index = VerbatimIndex.open(place) if place.is_dir() else None
    return lambda artifacts: with_findings(artifacts, index)


def with_findings(artifacts: Sequence[Artifact], index: VerbatimIndex | None) -> list[Artifact]:
    """The artifacts, those whose metadata asks for findings with them."""
    asked = sum("findings" in artifact.metadata for artifact in artifacts)
    bar = tqdm(artifacts, desc="examining", unit="text", disable=None if asked > 1 else True, delay=1)
    return [_examined(artifact, index) if "findings" in artifact.metadata else artifact for artifact in bar]


def _examined(artifact: Artifact, index: VerbatimIndex | None) -> Artifact:
    found = examine(artifact.value, *around(artifact), language=artifact.metadata.get("language", "python"), index=index)
    return dataclasses.replace(artifact, metadata={**artifact.metadata, "findings": found})
