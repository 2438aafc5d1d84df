"""From what a person asks of a GAN to batches of few shapes, and back to pictures."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from genjax.decoding.buckets import power_of_two
from genjax.errors import RequestError
from genjax.tasks.contract import Artifact, Batch
from genjax.tasks.gan_players import StylePlayers
from genjax.tasks.points import Points
from genjax.tasks.sample_rows import filled

if TYPE_CHECKING:
    from genjax.tasks.gan import GAN

ROWS = 64  # of a batch of images at most
POINT_ROWS = 4096
STYLE_OPTIONS = ("truncation", "truncation_cutoff", "mix", "mix_layers")


def _option(default: Any, text: str) -> Any:
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True)
class GANRequest:
    """Samples of one kind."""

    num_samples: int = _option(1, "how many")
    label: tuple[str, ...] = _option((), "a class, for a model that knows classes; left out: all in turn")
    interpolate: bool = _option(False, "samples from one latent to another one: along the arc, or evenly between their styles")
    truncation: float = _option(1.0, "stylegan2: how far styles stay from their mean (psi): 0 the mean, 1 all the way")
    truncation_cutoff: int = _option(0, "stylegan2: truncate the first so many layers alone (0: all)")
    mix: str = _option("", "stylegan2: a table of styles mixed, as ROWSxCOLUMNS, beside the images that they are of")
    mix_layers: str = _option("", "with mix: the layers that read the column's style, as FIRST-LAST (default: the first half)")


@dataclass(frozen=True)
class Cell:
    """One sample of a request.

    Attributes:
        row: its number among all artifacts.
        latent, other: numbers of the latents that it is made of; the same where it is one.
        share: of the second latent.
        mixed: whether the second latent's style is read by some layers.
        turn: which label it takes where all are taken in turn.
    """

    row: int
    latent: int
    other: int
    request: GANRequest
    share: float = 0.0
    mixed: bool = False
    turn: int = 0


def prepare(requests: Sequence[GANRequest], task: "GAN") -> list[Batch]:
    """Batches; samples of two latents apart from the others.

    Raises:
        RequestError: what cannot be done.
    """
    groups: dict[Any, list[Cell]] = {}
    first = 0
    for request in requests:
        _check(request, task)
        for cell in _cells(request, first):
            key = (request.interpolate, request.truncation_cutoff, _layers(request, task) if request.mix else ())
            groups.setdefault(key, []).append(cell)
        first += _count(request)
    limit = POINT_ROWS if isinstance(task.medium, Points) else ROWS
    return [_batch(cells[start : start + limit], task) for cells in groups.values() for start in range(0, len(cells), limit)]


def _check(r: GANRequest, task: "GAN") -> None:
    if r.num_samples < 1:
        raise RequestError(f"--num_samples={r.num_samples}: it must be 1 or more.")
    if r.interpolate and (r.num_samples < 2 or r.mix):
        raise RequestError("--interpolate goes from one latent to another: ask for --num_samples of 2 or more, and no --mix.")
    task.labels.parse(r.label, 0)
    plain = GANRequest()
    asked = [name for name in STYLE_OPTIONS if getattr(r, name) != getattr(plain, name)]
    if asked and not isinstance(task.players, StylePlayers):
        raise RequestError(f"--{asked[0]}: this generator reads no styles, as that of stylegan2 does; leave it out.")
    if r.truncation_cutoff < 0:
        raise RequestError(f"--truncation_cutoff={r.truncation_cutoff}: it must be 0 (all layers) or more.")
    if r.mix_layers and not r.mix:
        raise RequestError("--mix_layers says which layers are mixed; give --mix too.")
    if r.mix:
        _table(r)
        _layers(r, task)


def _table(r: GANRequest) -> tuple[int, int]:
    found = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", r.mix)
    if not found or r.num_samples != 1:
        raise RequestError(f"--mix={r.mix}: write ROWSxCOLUMNS, such as 4x6, and leave --num_samples out.")
    return int(found[1]), int(found[2])


def _layers(r: GANRequest, task: "GAN") -> tuple[int, int]:
    """The first and the last layer that read the column's style."""
    count = task.players.config.num_styles
    found = re.fullmatch(r"(\d+)-(\d+)", r.mix_layers or f"0-{count // 2 - 1}")
    if not found or not 0 <= int(found[1]) <= int(found[2]) < count:
        raise RequestError(f"--mix_layers={r.mix_layers}: write FIRST-LAST, both from 0 to {count - 1} for this generator.")
    return int(found[1]), int(found[2])


def _count(r: GANRequest) -> int:
    """How many artifacts a request gets."""
    if not r.mix:
        return r.num_samples
    rows, columns = _table(r)
    return (rows + 1) * (columns + 1)


def _cells(r: GANRequest, first: int) -> Iterator[Cell]:
    """The samples of a request whose artifacts begin at `first`; its latents bear the same numbers."""
    if r.mix:
        rows, columns = _table(r)
        sources = [first + row for row in range(rows)], [first + rows + column for column in range(columns)]
        for number in range(1, (rows + 1) * (columns + 1)):  # the corner is empty
            row, column = divmod(number, columns + 1)
            one = sources[0][row - 1] if row else sources[1][column - 1]
            mixed = bool(row and column)
            yield Cell(first + number, one, sources[1][column - 1] if mixed else one, r, mixed=mixed)
        return
    for sample in range(r.num_samples):
        if r.interpolate:
            yield Cell(first + sample, first, first + 1, r, share=sample / (r.num_samples - 1))
        else:
            yield Cell(first + sample, first + sample, first + sample, r, turn=sample)


def _batch(cells: Sequence[Cell], task: "GAN") -> Batch:
    full, request = power_of_two(len(cells)), cells[0].request
    column = lambda name, fill=0: filled([getattr(cell, name) for cell in cells], full, fill)  # noqa: E731
    batch: dict[str, Any] = {"row": column("row", -1).astype(np.int32), "latent": column("latent").astype(np.int32)}
    if task.labels:
        batch["classes"] = filled([task.labels.parse(cell.request.label, cell.turn)[0] for cell in cells], full)
    if request.interpolate or request.mix:
        batch["other"] = column("other").astype(np.int32)
    if request.interpolate:
        batch["share"] = column("share").astype(np.float32)
    if isinstance(task.players, StylePlayers):
        layers = np.arange(task.players.config.num_styles)
        batch["truncation"] = filled([cell.request.truncation for cell in cells], full, 1.0).astype(np.float32)
        batch["cutoff"] = np.int32(request.truncation_cutoff or len(layers))
        if request.mix:
            low, high = _layers(request, task)
            batch["mixed"] = column("mixed")[:, None] & (layers >= low) & (layers <= high)
    return batch


def present(requests: Sequence[GANRequest], arrays: Sequence[Batch], task: "GAN") -> list[Artifact]:
    """One picture a sample; of points, one a request."""
    found = {int(row): value for batch in arrays for row, value in zip(batch["row"], batch["value"], strict=True)}
    artifacts: list[Artifact] = []
    first = 0
    for request in requests:
        cells = list(_cells(request, first))
        given = _metadata(request, task)
        if isinstance(task.medium, Points):
            points = np.stack([found[cell.row] for cell in cells])
            artifacts.append(task.medium.artifact(points, None, given | {"num_samples": len(cells)}))
        else:
            if request.mix:  # the table's corner
                blank = np.full_like(found[cells[0].row], 255)
                artifacts.append(task.medium.artifact(blank, None, given))
            for cell in cells:
                label = task.labels.names(task.labels.parse(request.label, cell.turn))
                artifacts.append(task.medium.artifact(found[cell.row], None, given | ({"label": label} if label else {})))
        first += _count(request)
    return artifacts


def _metadata(request: GANRequest, task: "GAN") -> Mapping[str, Any]:
    """What was asked for beside the defaults, and how many columns a grid is to have."""
    plain = GANRequest()
    names = ("interpolate", *STYLE_OPTIONS)
    given = {name: value for name in names if (value := getattr(request, name)) != getattr(plain, name)}
    if request.mix:
        given["columns"] = _table(request)[1] + 1
    elif task.labels and not request.label and not request.interpolate:
        given["columns"] = len(task.labels.attributes[0][1])  # one for each class
    return given
