"""From what a person asks of a GAN to batches of one shape, and back to pictures."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from genjax.decoding.buckets import power_of_two
from genjax.errors import RequestError
from genjax.tasks.contract import Artifact, Batch
from genjax.tasks.points import Points
from genjax.tasks.sample_rows import filled

if TYPE_CHECKING:
    from genjax.tasks.gan import GAN

ROWS = 64  # of a batch of images at most
POINT_ROWS = 4096


def _option(default: Any, text: str) -> Any:
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True)
class GANRequest:
    """Samples of one kind."""

    num_samples: int = _option(1, "how many")
    label: tuple[str, ...] = _option((), "a class, for a model that knows classes; left out: all in turn")
    interpolate: bool = _option(False, "samples from one latent to another one, evenly along the arc")


def prepare(requests: Sequence[GANRequest], task: "GAN") -> list[Batch]:
    """Batches of few shapes; samples that are interpolated apart from the others.

    Raises:
        RequestError: what cannot be done.
    """
    groups: dict[bool, list[tuple[int, int, GANRequest]]] = {}
    row = 0
    for request in requests:
        if request.num_samples < 1:
            raise RequestError(f"--num_samples={request.num_samples}: it must be 1 or more.")
        if request.interpolate and request.num_samples < 2:
            raise RequestError("--interpolate goes from one latent to another: ask for --num_samples of 2 or more.")
        task.labels.parse(request.label, 0)
        for sample in range(request.num_samples):
            groups.setdefault(request.interpolate, []).append((row, sample, request))
            row += 1
    limit = POINT_ROWS if isinstance(task.medium, Points) else ROWS
    return [_batch(rows[first : first + limit], task) for rows in groups.values() for first in range(0, len(rows), limit)]


def _batch(rows: Sequence[tuple[int, int, GANRequest]], task: "GAN") -> Batch:
    full = power_of_two(len(rows))
    batch: dict[str, Any] = {"row": filled([number for number, _, _ in rows], full, -1).astype(np.int32)}
    if task.labels:
        # A film is of one class.
        turn = lambda sample, r: 0 if r.interpolate else sample  # noqa: E731
        batch["classes"] = filled([task.labels.parse(r.label, turn(sample, r))[0] for _, sample, r in rows], full)
    if rows[0][2].interpolate:
        ends = [(number - sample, number - sample + 1) for number, sample, _ in rows]
        batch["ends"] = filled(ends, full).astype(np.int32)
        shares = [sample / (r.num_samples - 1) for _, sample, r in rows]
        batch["share"] = filled(shares, full).astype(np.float32)
    return batch


def present(requests: Sequence[GANRequest], arrays: Sequence[Batch], task: "GAN") -> list[Artifact]:
    """One picture a sample; of points, one a request."""
    found = {int(row): value for batch in arrays for row, value in zip(batch["row"], batch["value"], strict=True)}
    artifacts, first = [], 0
    for request in requests:
        rows = range(first, first + request.num_samples)
        first += request.num_samples
        given = {name: value for name in ("interpolate",) if (value := getattr(request, name))}
        if isinstance(task.medium, Points):
            points = np.stack([found[row] for row in rows])
            artifacts.append(task.medium.artifact(points, None, given | {"num_samples": len(rows)}))
            continue
        if task.labels and not request.label and not request.interpolate:
            given["columns"] = len(task.labels.attributes[0][1])  # of a grid: one for each class
        for sample, row in enumerate(rows):
            label = task.labels.names(task.labels.parse(request.label, 0 if request.interpolate else sample))
            artifacts.append(task.medium.artifact(found[row], None, given | ({"label": label} if label else {})))
    return artifacts
