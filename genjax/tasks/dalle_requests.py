"""From what a person asks of a DALL-E to batches of few shapes, and from candidates to pictures."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from genjax import decoding
from genjax.data.image_files import open_image
from genjax.data.text_rows import text_rows
from genjax.decoding.settings import Settings
from genjax.errors import ConfigError, DataError, RequestError
from genjax.tasks.contract import Artifact, Batch

if TYPE_CHECKING:
    from genjax.tasks.dalle import DALLETask

MAX_ROWS = 64  # candidates that are drawn at a time


def _option(default: Any, text: str) -> Any:
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True)
class SamplingConfig:
    """The section `config.task.sampling`: what a request that says nothing of it gets."""

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    guidance: float = 1.0

    def __post_init__(self):
        if self.guidance < 0 or self.temperature < 0:
            raise ConfigError("config.task.sampling.guidance and temperature must be 0 or more.")


@dataclass(frozen=True)
class DALLERequest:
    """Pictures of one text."""

    prompt: str = _option("", "what to draw; empty: anything")
    num_samples: int = _option(1, "how many pictures")
    candidates: int = _option(0, "draw so many, of which the pictures are those that fit the text best (0: no choice)")
    guidance: float | None = _option(None, "how much more than without the text codes are to fit it: 1 as trained, above: more")
    temperature: float | None = _option(None, "0: always the likeliest code; 1: the model's own distribution")
    top_k: int | None = _option(None, "draw from the k likeliest codes; 0: from all")
    top_p: float | None = _option(None, "draw from the likeliest codes that together have this probability; 1: from all")
    image: str = _option("", "a file to complete (--keep_rows) or to vary (--vary), in the model's size")
    keep_rows: int = _option(0, "with image: keep so many rows of its codes, from the top, and draw the rest")
    vary: float = _option(0.0, "with image: draw this share of its codes anew, here and there")


def prepare(requests: Sequence[DALLERequest], task: "DALLETask") -> list[Batch]:
    """Batches of at most `MAX_ROWS` candidates.

    Raises:
        RequestError: a text that is too long, an image of another size, or what does not go together.
    """
    s, _ = task.sizes, task.medium  # which complains where nothing can be drawn
    for request in requests:
        _check(request, task)
    starts, texts = task.form.prompts(*read_texts([request.prompt for request in requests], task))
    guided = [_setting(request, "guidance", task) for request in requests]
    groups: dict[tuple[bool, bool], list[int]] = {}
    for number, request in enumerate(requests):
        groups.setdefault((guided[number] != 1, bool(request.image)), []).append(number)
    batches = []
    for (guides, shows), numbers in groups.items():
        settings = [_decoding(requests[number], task, s.places) for number in numbers]
        own_texts = None if texts is None else [texts[number] for number in numbers]
        made = decoding.make_batches(
            [starts[number] for number in numbers],
            settings,
            context_length=task.form.limit,
            max_rows=MAX_ROWS,
            sources=own_texts,
            source_length=s.text_length,
        )
        for batch in made:
            owner = np.array([numbers[one] if one >= 0 else -1 for one in batch["owner"]], np.int32)
            times = len(owner) // len(batch["tokens"])
            own = [requests[one] if one >= 0 else DALLERequest() for one in owner]
            batch["owner"] = owner
            if guides:
                batch["guidance"] = np.array([guided[one] if one >= 0 else 1.0 for one in owner], np.float32)
            if shows:
                batch |= _shown(own, batch["sample"], times, task)
            if task.ranker:
                batch["rank_tokens"] = _ranked([request.prompt for request in own[::times]], task)
            batches.append(batch)
    return batches


def present(requests: Sequence[DALLERequest], arrays: Sequence[Batch], task: "DALLETask") -> list[Artifact]:
    """The best candidates of each request, the best first; in the order in which they were drawn where none is chosen."""
    found: list[dict[int, dict[str, np.ndarray]]] = [{} for _ in requests]
    for batch in arrays:
        for row, owner in enumerate(batch["owner"]):
            if owner >= 0:
                found[owner][int(batch["sample"][row])] = {
                    name: batch[name][row] for name in batch if name not in ("owner", "sample")
                }
    artifacts = []
    for request, samples in zip(requests, found, strict=True):
        order = sorted(samples)
        if request.candidates:
            order.sort(key=lambda number: -float(samples[number]["score"]))
        for number in order[: request.num_samples]:
            own = samples[number]
            metadata = {"prompt": request.prompt, "sample": number, "guidance": _setting(request, "guidance", task)}
            if "score" in own:
                metadata["score"] = round(float(own["score"]), 3)
            codes = np.asarray(own["codes"]).reshape(task.sizes.rows, task.sizes.columns)
            value = np.broadcast_to(own["value"], (*own["value"].shape[:2], 3))
            artifacts.append(Artifact("image", value, metadata, {"codes": codes}))
    return artifacts


def _setting(request: DALLERequest, name: str, task: "DALLETask") -> Any:
    value = getattr(request, name)
    return getattr(task.config.sampling, name) if value is None else value


def _decoding(request: DALLERequest, task: "DALLETask", places: int) -> Settings:
    return Settings(
        max_new_tokens=places,
        num_samples=request.candidates or request.num_samples,
        **{name: _setting(request, name, task) for name in ("temperature", "top_k", "top_p")},
    )


def _check(r: DALLERequest, task: "DALLETask") -> None:
    if r.num_samples < 1:
        raise RequestError(f"--num_samples={r.num_samples}: it must be 1 or more.")
    if r.candidates and not task.ranker:
        raise RequestError(
            "--candidates: this run has no ranker to choose by; train it with config.task.ranker, or leave it out."
        )
    if r.candidates and r.candidates < r.num_samples:
        raise RequestError(f"--candidates={r.candidates} are fewer than --num_samples={r.num_samples}; draw as many or more.")
    if _setting(r, "guidance", task) < 0:
        raise RequestError(f"--guidance={r.guidance}: it must be 0 or more.")
    rows = task.sizes.rows
    if not 0 <= r.keep_rows < rows:
        raise RequestError(f"--keep_rows={r.keep_rows}: images have {rows} rows of codes; keep 1 to {rows - 1}.")
    if not 0 <= r.vary <= 1:
        raise RequestError(f"--vary={r.vary}: it must be between 0 and 1.")
    if bool(r.image) != bool(r.keep_rows or r.vary) or (r.keep_rows and r.vary):
        raise RequestError("an image is completed (--image with --keep_rows) or varied (--image with --vary); give one of both.")


def read_texts(prompts: Sequence[str], task: "DALLETask") -> tuple[np.ndarray, np.ndarray]:
    """Rows of tokens, and which of them are not behind the end of their text; of an empty one, none.

    Raises:
        RequestError: a text that is too long, or no tokenizer.
    """
    length, tokenizer = task.sizes.text_length, task.info.tokenizer
    if tokenizer is None:
        raise RequestError("there is no tokenizer beside these weights, so no text can be read.")
    for prompt in prompts:
        count = len(tokenizer.encode(prompt)) + 2
        if count > length:
            raise RequestError(
                f"the prompt {prompt!r} has {count} tokens with its ends, but the model reads {length}; shorten it."
            )
    rows = text_rows(tokenizer, prompts, length)
    says = np.array([bool(prompt) for prompt in prompts])[:, None]
    return rows, np.asarray(task.within(rows)) & says


def _ranked(prompts: Sequence[str], task: "DALLETask") -> np.ndarray:
    info = task.ranker.info
    return text_rows(info.tokenizer, prompts, info.context_length, info.canonical)


def _shown(own: Sequence[DALLERequest], samples: np.ndarray, times: int, task: "DALLETask") -> dict[str, np.ndarray]:
    """The image of each prompt, which of its codes each candidate keeps, and how many rows of pixels."""
    c, shape = task.sizes, task.medium.shape
    known = np.zeros((len(own), c.rows * c.columns), bool)
    pasted = np.zeros(len(own), np.int32)
    for row, request in enumerate(own):
        known[row, : request.keep_rows * c.columns] = True
        pasted[row] = request.keep_rows * (shape[0] // c.rows)
        if request.vary:
            drawn = np.random.default_rng((int(samples[row]), 0x766172)).random(known.shape[1])
            known[row] = drawn >= request.vary
            known[row, 0] = True  # the first code is chosen once for all candidates of a prompt
    images = [_read(request.image, task) if request.image else np.zeros(shape, np.uint8) for request in own[::times]]
    return {"image": np.stack(images), "known": known, "pasted": pasted}


def _read(file: str, task: "DALLETask") -> np.ndarray:
    """Raises RequestError: no image, or one of another size."""
    height, width, channels = task.medium.shape
    try:
        image = open_image(file, channels)
    except DataError as error:
        raise RequestError(str(error)) from error
    if image.size != (width, height):
        raise RequestError(
            f"--image={file} is {image.width}x{image.height} pixels; this model draws {width}x{height}: resize it."
        )
    return np.asarray(image, np.uint8).reshape(height, width, channels)
