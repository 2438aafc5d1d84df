"""From what a person asks of a GAN to batches of few shapes, and back to pictures."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from genjax.decoding.buckets import power_of_two
from genjax.errors import RequestError
from genjax.tasks import style_projection, style_requests
from genjax.tasks.contract import Artifact, Batch
from genjax.tasks.gan_players import StylePlayers
from genjax.tasks.image_to_image_requests import files_of
from genjax.tasks.points import Points
from genjax.tasks.sample_rows import filled
from genjax.tasks.style_distances import DISTANCES
from genjax.tasks.style_requests import read_styles
from genjax.tasks.style_samples import SHIFT

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
    interpolate: bool = _option(False, "samples from one latent to another one: along the arc, or evenly between their styles")
    truncation: float = _option(1.0, "stylegan2: how far styles stay from their mean (psi): 0 the mean, 1 all the way")
    truncation_cutoff: int = _option(0, "stylegan2: truncate the first so many layers alone (0: all)")
    mix: str = _option("", "stylegan2: a table of styles mixed, as ROWSxCOLUMNS, beside the images that they are of")
    mix_layers: str = _option("", "with mix: the layers that read the column's style, as FIRST-LAST (default: the first half)")
    direction: int | None = _option(None, "stylegan2: shift styles along this principal component of all styles, from 0")
    strength: float = _option(2.0, "with direction: how far, in deviations of styles along it")
    sweep: int = _option(0, "with direction: a row for each sample, in so many steps from -strength to strength")
    direction_layers: str = _option("", "with direction: the layers whose style is shifted, as FIRST-LAST (default: all)")
    image: str = _option("", "with project: a file, or a folder, of which all images are taken; the middle, in the model's size")
    project: str = _option("", "stylegan2: find the styles of an image: one for all layers (w), or one for each (w+)")
    project_steps: int = _option(1000, "with project: steps of the search")
    distance: str = _option("discriminator", f"with project: what is near, by {', '.join(DISTANCES)}")
    vgg: str = _option("", "with distance=vgg: torchvision's weights of VGG-16 or VGG-19, .pth or .safetensors")
    beside: bool = _option(False, "with project: show the given image to the left of the found one")
    styles: str = _option("", "stylegan2: images of the styles in this .npz file, which project left beside its picture")


@dataclass(frozen=True)
class Cell:
    """One sample of a request.

    Attributes:
        row: its number among all artifacts.
        latent, other: numbers of the latents that it is made of, the same where it is one; or of the styles in a file.
        share: of the second latent.
        mixed: whether the second latent's style is read by some layers.
        turn: which label it takes where all are taken in turn.
        shift: along the request's direction, in deviations.
    """

    row: int
    latent: int
    other: int
    request: GANRequest
    share: float = 0.0
    mixed: bool = False
    turn: int = 0
    shift: float = 0.0


def prepare(requests: Sequence[GANRequest], task: "GAN") -> list[Batch]:
    """Batches; samples of two latents, of a direction and of a file apart from the others.

    Raises:
        RequestError: what cannot be done.
    """
    groups: dict[Any, list[Cell]] = {}
    projections: list[Batch] = []
    first = 0
    for request in requests:
        _check(request, task)
        count = _count(request, task)
        if request.project:
            projections += style_projection.prepare(request, first, task)
        for cell in _cells(request, first, count):
            way = (request.interpolate, request.truncation_cutoff, _mixed_layers(request, task) if request.mix else ())
            groups.setdefault((*way, request.direction is None, request.styles), []).append(cell)
        first += count
    limit = POINT_ROWS if isinstance(task.medium, Points) else ROWS
    rows = [cells[start : start + limit] for cells in groups.values() for start in range(0, len(cells), limit)]
    return [*(_batch(cells, task) for cells in rows), *projections]


def _check(r: GANRequest, task: "GAN") -> None:
    if r.num_samples < 1:
        raise RequestError(f"--num_samples={r.num_samples}: it must be 1 or more.")
    if r.interpolate and (r.num_samples < 2 or r.mix):
        raise RequestError("--interpolate goes from one latent to another: ask for --num_samples of 2 or more, and no --mix.")
    task.labels.parse(r.label, 0)
    if isinstance(task.players, StylePlayers):
        style_requests.check(r, task.players)
    elif asked := [name for name in style_requests.asked_for(r) if name not in style_requests.COMMON]:
        raise RequestError(f"--{asked[0]}: this generator reads no styles, as that of stylegan2 does; leave it out.")
    if r.project:
        style_projection.check(r)
    if r.mix:
        _table(r)
        _mixed_layers(r, task)


def _table(r: GANRequest) -> tuple[int, int]:
    found = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", r.mix)
    if not found or r.num_samples != 1:
        raise RequestError(f"--mix={r.mix}: write ROWSxCOLUMNS, such as 4x6, and leave --num_samples out.")
    return int(found[1]), int(found[2])


def _mixed_layers(r: GANRequest, task: "GAN") -> tuple[int, int]:
    """The first and the last layer that read the column's style."""
    return style_requests.layers("mix_layers", r.mix_layers or f"0-{task.players.config.num_styles // 2 - 1}", task.players)


def _count(r: GANRequest, task: "GAN") -> int:
    """How many artifacts a request gets."""
    if r.project:
        return len(files_of(r))
    if r.mix:
        rows, columns = _table(r)
        return (rows + 1) * (columns + 1)
    samples = len(read_styles(r.styles, task.players).styles) if r.styles else r.num_samples
    return samples * max(r.sweep, 1)


def _cells(r: GANRequest, first: int, count: int) -> Iterator[Cell]:
    """The samples of a request whose `count` artifacts begin at `first`; its latents bear the same numbers."""
    if r.project:
        return
    if r.mix:
        rows, columns = _table(r)
        sources = [first + row for row in range(rows)], [first + rows + column for column in range(columns)]
        for number in range(1, (rows + 1) * (columns + 1)):  # the corner is empty
            row, column = divmod(number, columns + 1)
            one = sources[0][row - 1] if row else sources[1][column - 1]
            mixed = bool(row and column)
            yield Cell(first + number, one, sources[1][column - 1] if mixed else one, r, mixed=mixed, shift=r.strength)
        return
    if r.interpolate:
        for sample in range(count):
            yield Cell(first + sample, first, first + 1, r, share=sample / (count - 1), shift=r.strength)
        return
    shifts = style_requests.strengths(r)
    for sample in range(count // len(shifts)):
        latent = sample if r.styles else first + sample
        for column, shift in enumerate(shifts):
            yield Cell(first + sample * len(shifts) + column, latent, latent, r, turn=sample, shift=float(shift))


def _batch(cells: Sequence[Cell], task: "GAN") -> Batch:
    full, request = power_of_two(len(cells)), cells[0].request
    column = lambda name, fill=0: filled([getattr(cell, name) for cell in cells], full, fill)  # noqa: E731
    batch: dict[str, Any] = {"row": column("row", -1).astype(np.int32)}
    if request.direction is not None:
        layers = np.arange(task.players.config.num_styles)
        spans = np.array([style_requests.shifted_layers(cell.request, task.players) for cell in cells])
        batch[SHIFT] = column("shift").astype(np.float32)
        batch["direction"] = filled([cell.request.direction for cell in cells], full).astype(np.int32)
        batch["shifted"] = filled((layers >= spans[:, :1]) & (layers <= spans[:, 1:]), full)
    if request.styles:
        held, rows = read_styles(request.styles, task.players), [cell.latent for cell in cells]
        batch["styles"] = filled(held.styles[rows], full)
        if held.noise:
            batch["noise"] = {path: filled(image[rows], full) for path, image in held.noise.items()}
        return batch
    batch["latent"] = column("latent").astype(np.int32)
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
            low, high = _mixed_layers(request, task)
            batch["mixed"] = column("mixed")[:, None] & (layers >= low) & (layers <= high)
    return batch


def present(requests: Sequence[GANRequest], arrays: Sequence[Batch], task: "GAN") -> list[Artifact]:
    """One picture a sample; of points, one a request."""
    found = {int(row): value for batch in arrays for row, value in zip(batch["row"], batch["value"], strict=True)}
    artifacts: list[Artifact] = []
    first = 0
    for request in requests:
        count = _count(request, task)
        cells = list(_cells(request, first, count))
        given = _metadata(request, task)
        if request.project:
            artifacts += style_projection.present(request, first, arrays, task)
        elif isinstance(task.medium, Points):
            points = np.stack([found[cell.row] for cell in cells])
            artifacts.append(task.medium.artifact(points, None, given | {"num_samples": len(cells)}))
        else:
            if request.mix:  # the table's corner
                blank = np.full_like(found[cells[0].row], 255)
                artifacts.append(task.medium.artifact(blank, None, given))
            for cell in cells:
                told = {} if request.direction is None else {"strength": cell.shift}
                label = None if request.styles else task.labels.names(task.labels.parse(request.label, cell.turn))
                told |= {"label": label} if label else {}
                artifacts.append(task.medium.artifact(found[cell.row], None, given | told))
        first += count
    return artifacts


def _metadata(request: GANRequest, task: "GAN") -> Mapping[str, Any]:
    """What was asked for beside the defaults, and how many columns a grid is to have."""
    asked = style_requests.asked_for(request)
    given = {name: getattr(request, name) for name in asked if name not in ("num_samples", "label", "sweep")}
    if request.mix:
        given["columns"] = _table(request)[1] + 1
    elif request.sweep:
        given["columns"] = request.sweep
    elif task.labels and not (request.label or request.interpolate or request.styles):
        given["columns"] = len(task.labels.attributes[0][1])  # one for each class
    return given
