"""From what a person asks of a diffusion model to batches of one shape, and back to pictures."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from genjax.config import choose
from genjax.decoding.buckets import power_of_two
from genjax.diffusion import editing
from genjax.diffusion.grids import Grid
from genjax.diffusion.process import Process
from genjax.diffusion.programs import Program
from genjax.diffusion.samplers import SAMPLERS
from genjax.errors import ConfigError, RequestError
from genjax.interop.preprocessor import Preprocessor
from genjax.tasks.contract import Artifact, Batch
from genjax.tasks.image_batches import read_request_images
from genjax.tasks.labels import NONE
from genjax.tasks.sample_rows import filled

if TYPE_CHECKING:
    from genjax.tasks.diffusion import Diffusion

ROWS = 64  # of a batch at most
OPTIONS = {"eta": ("ddim", "euler_ancestral"), "churn": ("edm",)}  # of a request, and the samplers that take it
STRAIGHT = ("flow_euler", "flow_heun")  # samplers of rectified flow alone
STRENGTH = 0.6  # of image-to-image, where none is asked for


@dataclass(frozen=True)
class SamplingConfig:
    """The section `config.task.sampling`: what a request that says nothing gets.

    Attributes:
        sampler: one of `diffusion.samplers.SAMPLERS`.
        spacing: see `Process.grid`; "": the process's own.
        guidance: 1 for none.
        clip: whether predicted clean samples are clipped to [-1, 1].
    """

    sampler: str = "ddim"
    steps: int = 50
    spacing: str = ""
    guidance: float = 1.0
    clip: bool = True


def _option(default: Any, text: str) -> Any:
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True)
class DiffusionRequest:
    """Samples of one kind."""

    num_samples: int = _option(1, "how many")
    label: tuple[str, ...] = _option(
        (), "a class, or attribute=value (repeatable), or none; left out: all in turn, of an image none"
    )
    sampler: str = _option("", f"{', '.join(SAMPLERS)}; left out: as the run's config says")
    steps: int = _option(0, "steps of the sampler (0: as the run's config says)")
    spacing: str = _option("", "of the steps: linspace, leading, trailing, uniform, karras, exponential")
    guidance: float | None = _option(None, "how much more of the label than without guidance, which is 1")
    guidance_rescale: float = _option(0.0, "0 to 1: how far guided samples get back the deviation of unguided ones")
    guidance_from: float = _option(0.0, "guide only where sigma / alpha is above this")
    guidance_until: float = _option(float("inf"), "guide only where sigma / alpha is at most this")
    eta: float | None = _option(None, "noise on the way: ddim 0 (none) to 1, euler_ancestral 1")
    churn: float | None = _option(None, "of the sampler edm: how much noise is added on the way (Karras et al., 2022)")
    clip: bool | None = _option(None, "clip predicted clean samples to the range of images")
    threshold: float = _option(0.0, "in place of clip: dynamic thresholding at this quantile, such as 0.995")
    image: str = _option("", "start from this image; or, for super-resolution, the small image")
    strength: float | None = _option(None, "with image: how much is made anew, above 0 to 1 (default 0.6; with mask 1)")
    mask: str = _option("", "with image: a picture whose white parts are made anew, while the rest stays")
    repaint: int = _option(0, "with mask: go back and forth so many times (RePaint), so that the new comes to fit the old")
    invert: bool = _option(False, "with image: start from the noise that DDIM finds for it")
    interpolate: bool = _option(False, "samples from one noise to another one, evenly along the arc")
    trajectory: int = _option(0, "show so many steps of the way from noise to each sample")
    height: int = _option(0, "of the samples, where it is not that of the data")
    width: int = _option(0, "the same")


@dataclass(frozen=True)
class Way:
    """What the requests of one batch have in common, defaults filled in."""

    sampler: str
    steps: int
    spacing: str
    options: tuple[tuple[str, float], ...]
    clip: bool
    threshold: float
    guided: bool
    source: str  # what an image is for: "", "low", "blend", "fill", "invert"
    strength: float
    repaint: int
    interpolate: bool
    frames: int
    places: tuple[int, ...]


def check_defaults(config: SamplingConfig, process: Process) -> None:
    """Raises ConfigError: a sampler or steps that the process does not have."""
    make_program(process, config.sampler, config.steps, config.spacing)


@functools.lru_cache(maxsize=64)
def make_program(
    process: Process,
    sampler: str,
    steps: int,
    spacing: str,
    options: tuple[tuple[str, Any], ...] = (),
    strength: float = 1.0,
    repaint: int = 0,
) -> Program:
    """The sampler's table for a process. Raises ConfigError: unknown names (listed), or what does not go together."""
    make = choose("sampler", sampler, SAMPLERS)
    flow = process.config.schedule == "flow"
    if sampler in STRAIGHT and not flow:
        raise ConfigError(f"sampler '{sampler}' is for rectified flow, but the model's process is '{process.config.schedule}'.")
    if sampler == "ddpm":
        options = (*options, ("variance", process.config.variance))
    grid = process.grid(steps, spacing).after(strength)
    if repaint:
        jump = max(1, len(grid) // 10)
        return editing.repaint(grid, jump_length=jump, jump_samples=repaint)
    return make(grid, **dict(options))


@functools.lru_cache(maxsize=16)
def make_inversion(process: Process, steps: int, spacing: str) -> Program:
    """DDIM from the cleanest level that the sampler asks at to the noisiest."""
    grid = process.grid(steps, spacing)
    levels = grid.starts[::-1]
    if len(levels) < 2:
        raise ConfigError("an image cannot be inverted in one step; ask for 2 or more.")
    return SAMPLERS["ddim"](Grid(grid.schedule, levels[:-1], levels[1:]))


def prepare(requests: Sequence[DiffusionRequest], task: "Diffusion") -> list[Batch]:
    """Batches of at most `ROWS` samples; those of one way together, so that the shapes are few.

    Raises:
        RequestError: what cannot be done.
    """
    groups: dict[Way, list[tuple[int, int, DiffusionRequest]]] = {}
    row = 0
    for request in requests:
        way = _way(request, task)
        for sample in range(request.num_samples):
            groups.setdefault(way, []).append((row, sample, request))
            row += 1
    return [_batch(way, rows[first : first + ROWS], task) for way, rows in groups.items() for first in range(0, len(rows), ROWS)]


def _way(request: DiffusionRequest, task: "Diffusion") -> Way:
    r, defaults = request, task.config.sampling
    for name, lowest in (("num_samples", 1), ("steps", 0), ("repaint", 0), ("trajectory", 0), ("height", 0), ("width", 0)):
        if getattr(r, name) < lowest:
            raise RequestError(f"--{name}={getattr(r, name)}: it must be {lowest} or more.")
    if not 0 <= r.threshold <= 1 or not 0 <= r.guidance_rescale <= 1:
        raise RequestError("--threshold and --guidance_rescale lie between 0 and 1.")
    guidance = defaults.guidance if r.guidance is None else r.guidance
    task.labels.parse(_label(r, task), 0)
    if guidance != 1 and not (task.labels and task.labels.has_none):
        reason = "was trained with task.label_dropout 0" if task.labels else "knows no labels"
        raise RequestError(f"--guidance={guidance:g}: this model {reason}, so that nothing can be guided; leave it out.")
    sampler = r.sampler or defaults.sampler
    options = []
    for name, takers in OPTIONS.items():
        if getattr(r, name) is None:
            continue
        if sampler not in takers:
            raise RequestError(f"--{name}: the sampler {sampler} does not take it; {' and '.join(takers)} do.")
        options.append((name, float(getattr(r, name))))
    source = _source(r, task)
    strength = r.strength if r.strength is not None else STRENGTH if source == "blend" else 1.0
    way = Way(
        sampler=sampler,
        steps=r.steps or defaults.steps,
        spacing=r.spacing or defaults.spacing,
        options=tuple(options),
        clip=defaults.clip if r.clip is None else r.clip,
        threshold=r.threshold,
        guided=guidance != 1,
        source=source,
        strength=strength,
        repaint=r.repaint,
        interpolate=r.interpolate,
        frames=r.trajectory,
        places=_places(r, task),
    )
    try:
        _program(way, task.process)
        if source == "invert":
            make_inversion(task.process, way.steps, way.spacing)
    except ConfigError as error:
        raise RequestError(str(error)) from error
    return way


def _label(request: DiffusionRequest, task: "Diffusion") -> tuple[str, ...]:
    """What is asked for, as `Labels.parse` takes it: where an image says what is wanted, a label left out is none."""
    told = request.image and not request.label and task.labels and task.labels.has_none
    return (NONE,) if told else request.label


def _program(way: Way, process: Process) -> Program:
    return make_program(process, way.sampler, way.steps, way.spacing, way.options, way.strength, way.repaint)


def _source(r: DiffusionRequest, task: "Diffusion") -> str:
    """What the request's image is for."""
    if task.config.low_resolution:
        if not r.image:
            raise RequestError("this model enlarges images: give it one with --image.")
        if r.mask or r.invert or r.strength is not None:
            raise RequestError("--mask, --invert and --strength are not for a model that enlarges images; leave them out.")
        return "low"
    if not r.image:
        if r.mask or r.invert or r.strength is not None:
            raise RequestError("--mask, --invert and --strength say what becomes of an image; give one with --image.")
        return ""
    if task.medium.column != "image":
        raise RequestError(f"--image: this model makes {task.medium.units}; leave it out.")
    if r.interpolate or (r.mask and r.invert) or (r.invert and r.strength is not None):
        raise RequestError(
            "of --interpolate, --mask, --invert and --strength, these do not go together with --image; choose one."
        )
    if r.repaint and not r.mask:
        raise RequestError("--repaint fits what is made anew to what stays; give --mask.")
    return "invert" if r.invert else "fill" if r.mask else "blend"


def _places(r: DiffusionRequest, task: "Diffusion") -> tuple[int, ...]:
    places = task.medium.shape[:-1]
    if not (r.height or r.width):
        return places
    if task.medium.column != "image" or task.config.low_resolution:
        raise RequestError("--height and --width are for models that make images from noise; leave them out.")
    places = (r.height or places[0], r.width or places[1])
    factor = task.factor
    if any(side % factor for side in places):
        raise RequestError(f"--height {places[0]} and --width {places[1]} must be multiples of {factor} for this model.")
    return places


def _batch(way: Way, rows: Sequence[tuple[int, int, DiffusionRequest]], task: "Diffusion") -> Batch:
    full = power_of_two(len(rows))
    numbers = [number for number, _, _ in rows]
    batch: dict[str, Any] = {
        "row": filled(numbers, full, -1).astype(np.int32),
        "places": np.zeros(way.places, np.uint8),
        "frames": np.zeros(way.frames, np.uint8),
        "program": _program(way, task.process),
    }
    if way.threshold:
        batch["quantile"] = np.float32(way.threshold)
    else:
        batch["limit"] = np.float32(1.0 if way.clip else np.inf)
    if task.labels:
        batch["classes"] = filled([task.labels.parse(_label(r, task), sample) for _, sample, r in rows], full)
    if way.guided:
        default = task.config.sampling.guidance
        asked = [(default if r.guidance is None else r.guidance, r.guidance_rescale) for _, _, r in rows]
        bounds = [(r.guidance_from, r.guidance_until) for _, _, r in rows]
        columns = filled(np.concatenate([asked, bounds], axis=1).astype(np.float32), full)
        batch["guidance"] = dict(zip(("scale", "rescale", "from", "until"), columns.T, strict=True))
    if way.interpolate:
        ends = [(number - sample, number - sample + r.num_samples) for number, sample, r in rows]
        batch["ends"] = filled(ends, full).astype(np.int32)
        shares = [sample / max(r.num_samples - 1, 1) for _, sample, r in rows]
        batch["share"] = filled(shares, full).astype(np.float32)
    return batch | _images(way, rows, full, task)


def _images(way: Way, rows: Sequence[tuple[int, int, DiffusionRequest]], full: int, task: "Diffusion") -> Batch:
    if not way.source:
        return {}
    factor = task.config.low_resolution or 1
    size = Preprocessor(way.places[0] // factor, way.places[1] // factor)
    files = list(dict.fromkeys(r.image for _, _, r in rows))
    found = dict(zip(files, read_request_images(files, size, task.medium.shape[-1]), strict=True))
    images = filled([found[r.image] for _, _, r in rows], full)
    if way.source == "low":
        return {"low": images}
    if way.source == "invert":
        return {"image": images, "inversion": make_inversion(task.process, way.steps, way.spacing)}
    batch = {"image": images}
    if way.source == "blend" or way.strength < 1:
        batch["blended"] = np.zeros(0, np.uint8)
    if way.source == "fill":
        masks = list(dict.fromkeys(r.mask for _, _, r in rows))
        holes = dict(zip(masks, read_request_images(masks, replace(size, resample="nearest"), 1), strict=True))
        batch["known"] = filled([holes[r.mask] < 128 for _, _, r in rows], full).astype(np.uint8)
    return batch


def present(requests: Sequence[DiffusionRequest], arrays: Sequence[Batch], task: "Diffusion") -> list[Artifact]:
    found: dict[int, tuple[np.ndarray, np.ndarray | None]] = {}
    for batch in arrays:
        films = np.moveaxis(batch["film"], 1, 0) if "film" in batch else [None] * len(batch["row"])
        found |= {int(row): pair for row, *pair in zip(batch["row"], batch["value"], films, strict=True)}
    artifacts = []
    for request in requests:
        given = _metadata(request, task)
        for sample in range(request.num_samples):
            value, film = found[len(artifacts)]
            label = task.labels.names(task.labels.parse(_label(request, task), sample))
            artifacts.append(task.medium.artifact(value, film, given | ({"label": label} if label else {})))
    return artifacts


def _metadata(request: DiffusionRequest, task: "Diffusion") -> Mapping[str, Any]:
    """What made a sample: the defaults that a request left open, and what it asked for beside them."""
    way = _way(request, task)
    given: dict[str, Any] = {
        "sampler": way.sampler,
        "steps": way.steps,
        "spacing": way.spacing or task.process.config.default_spacing,
    }
    given["guidance"] = task.config.sampling.guidance if request.guidance is None else request.guidance
    if not _label(request, task) and len(task.labels.attributes) == 1:
        given["columns"] = len(task.labels.attributes[0][1])  # of a grid: one for each class
    plain = DiffusionRequest()
    asked = {name: value for name, value in vars(request).items() if value != getattr(plain, name)}
    return given | {name: value for name, value in asked.items() if name not in (*given, "label", "num_samples", "trajectory")}
