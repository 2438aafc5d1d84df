"""Requests to batches of fixed shape, and back. Host side.

A batch is a dict of arrays; its shapes say how many slots, samples or beams there are, its keys whether there are beams:

    tokens [prompts slots], lengths [prompts]   left-padded prompts
    controls                                    `Controls` by row (a row is a sample of a prompt), with beams by prompt
    streams [rows 2]                            what a row's random numbers depend on beside the key
    output [rows capacity]                      zeros; with beams [prompts beams capacity]
    owner [rows], sample [rows]                 which request a row answers (-1: none), and which of its samples it is
    beam                                        `BeamControls`, only with beams; owner and sample are then by prompt
    source [prompts source ...]                 what a prompt answers, such as a text to translate: right-padded; only where
    source_mask [prompts source]                there is an encoder. 1 where the source is no padding
    host {"stop": a tuple of texts for each row}    only where the host must look for stop strings; not for the device
"""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Shaped

from genjax.decoding.beam import EARLY_STOPPING, BeamControls
from genjax.decoding.buckets import SMALLEST, Bucket, bucket, half_step, power_of_two
from genjax.decoding.processors import make_controls
from genjax.decoding.settings import Settings, check
from genjax.decoding.stopping import DecodeBytes, cut_text
from genjax.errors import RequestError

DEFAULT_NEW_TOKENS = 256
HOST = "host"  # the entry of a batch that must not reach the device


@dataclass(frozen=True)
class Generation:
    """One continuation.

    Attributes:
        text: without eos, and cut before the first stop string.
        tokens: without eos, up to the token that completed the stop string.
        finish_reason: "eos", "stop" (a stop string) or "length".
        log_probs: of each token in nats under the model's own distribution, the eos last; None where not asked for.
        score: of a beam: log-probability / length ** length_penalty; None without beams.
    """

    text: str
    tokens: tuple[int, ...]
    finish_reason: str
    log_probs: tuple[float, ...] | None = None
    score: float | None = None

    @property
    def metadata(self) -> dict[str, Any]:
        """Everything but the text, JSON-ready."""
        values: dict[str, Any] = {"num_tokens": len(self.tokens), "finish_reason": self.finish_reason}
        if self.log_probs is not None:
            values |= {"tokens": list(self.tokens), "log_probs": list(self.log_probs), "log_prob": float(sum(self.log_probs))}
        if self.score is not None:
            values["score"] = self.score
        return values


@dataclass(frozen=True)
class _Shape:
    """What a batch's compiled program depends on, rows apart."""

    bucket: Bucket
    samples: int
    beams: int
    hosted: bool
    source: int


@dataclass(frozen=True)
class _Unit:
    """Samples `first`, `first + 1`, ... of one request, at most as many as a batch holds."""

    request: int
    first: int
    count: int
    stream: tuple[int, int]
    new_tokens: int


def make_batches(
    prompts: Sequence[Sequence[int]],
    settings: Sequence[Settings],
    *,
    context_length: int,
    eos_ids: Sequence[int] = (),
    max_rows: int = 64,
    sources: Sequence[Shaped[np.ndarray, "source ..."]] | None = None,
    source_length: int = 0,
) -> list[dict[str, Any]]:
    """Groups requests of one shape, longest programs last, in the order of the requests within a shape.

    The random numbers of a sample depend on its prompt, its number and the key, not on its neighbours. A prompt that is asked
    for twice counts its samples on.

    Args:
        prompts: token ids, at least one each.
        settings: for each prompt.
        context_length: prompt and continuation together.
        eos_ids: the tokens that end a text.
        max_rows: samples or beams decoded at a time.
        sources: what an encoder reads for each prompt, tokens or features; None where there is no encoder.
        source_length: how long one may be.

    Raises:
        RequestError: a knob out of range, or a prompt or source that does not fit; names the request where there are several.
    """
    groups: dict[_Shape, list[_Unit]] = {}
    counts: dict[bytes, int] = {}
    for index, (prompt, wish) in enumerate(zip(prompts, settings, strict=True)):
        try:
            check(wish)
            new_tokens = wish.max_new_tokens or max(min(DEFAULT_NEW_TOKENS, context_length - len(prompt)), 1)
            # With a source, a prompt is but the token that a text begins with.
            lengths = bucket(len(prompt), new_tokens, context_length, SMALLEST if sources is None else 1)
            slots = 0 if sources is None else _source_slots(len(sources[index]), source_length)
        except RequestError as error:
            if len(prompts) == 1:
                raise
            raise RequestError(f"request {index + 1}: {error}") from error
        beams = wish.num_beams
        samples = 1 if beams > 1 else min(wish.num_samples, max_rows)
        shape = _Shape(lengths, samples, beams, hosted=bool(wish.stop) and beams == 1, source=slots)
        content = np.asarray(prompt, np.int32).tobytes() + (b"" if sources is None else sources[index].tobytes())
        number, total = counts.get(content, 0), 1 if beams > 1 else wish.num_samples
        counts[content] = number + total
        for first in range(0, total, samples):
            stream = (zlib.crc32(content) & 0x7FFFFFFF, number + first)
            groups.setdefault(shape, []).append(_Unit(index, first, min(samples, total - first), stream, new_tokens))
    batches = []
    for shape in sorted(groups, key=lambda s: (s.bucket, s.source)):
        at_once = max(max_rows // (shape.samples * shape.beams), 1)
        units = groups[shape]
        for start in range(0, len(units), at_once):
            group = units[start : start + at_once]
            batch = _arrays(shape, group, prompts, settings, eos_ids, at_once)
            if sources is not None:
                batch |= _sources([sources[unit.request] for unit in group], len(batch["lengths"]), shape.source)
            batches.append(batch)
    return batches


def _source_slots(length: int, limit: int) -> int:
    if length > limit:
        raise RequestError(f"the source has a length of {length:,}, but the model reads at most {limit:,}; shorten it.")
    return min(max(half_step(length), SMALLEST), limit)


def _sources(sources: Sequence[np.ndarray], count: int, slots: int) -> dict[str, np.ndarray]:
    """`source` and `source_mask` of `count` rows; those beyond the sources are padding."""
    source = np.zeros((count, slots, *sources[0].shape[1:]), sources[0].dtype)
    mask = np.zeros((count, slots), np.int32)
    for row, values in enumerate(sources):
        source[row, : len(values)] = values
        mask[row, : len(values)] = 1
    return {"source": source, "source_mask": mask}


def _arrays(shape: _Shape, units: list[_Unit], prompts, settings, eos_ids, at_once: int) -> dict[str, Any]:
    count = min(power_of_two(len(units)), at_once)
    tokens = np.zeros((count, shape.bucket.prompt), np.int32)
    lengths = np.ones((count,), np.int32)
    for row, unit in enumerate(units):
        lengths[row] = len(prompts[unit.request])
        tokens[row, shape.bucket.prompt - lengths[row] :] = prompts[unit.request]

    # One entry for each row: request, sample, stream, tokens to write. Rows that only fill up write nothing.
    nobody = (-1, 0, (0, 0), 0)
    rows = []
    for unit in units:
        content, number = unit.stream
        own = [(unit.request, unit.first + i, (content, number + i), unit.new_tokens) for i in range(unit.count)]
        rows += own + [nobody] * (shape.samples - unit.count)
    rows += [nobody] * (count * shape.samples - len(rows))
    wishes = [settings[request] if request >= 0 else Settings() for request, *_ in rows]
    column = lambda name: [getattr(wish, name) for wish in wishes]  # noqa: E731
    names = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty", "min_new_tokens", "log_probs")
    controls = make_controls(
        len(rows),
        **{name: column(name) for name in names},
        max_new_tokens=[new_tokens for *_, new_tokens in rows],
        eos=[[-1] * len(eos_ids) if wish.ignore_eos else list(eos_ids) for wish in wishes],
    )
    batch: dict[str, Any] = {
        "tokens": tokens,
        "lengths": lengths,
        "controls": controls,
        "streams": np.array([stream for _, _, stream, _ in rows], np.int32),
        "output": np.zeros((len(rows), shape.bucket.capacity), np.int32),
        "owner": np.array([request for request, *_ in rows], np.int32),
        "sample": np.array([sample for _, sample, *_ in rows], np.int32),
    }
    if shape.beams > 1:
        batch["output"] = np.zeros((count, shape.beams, shape.bucket.capacity), np.int32)
        early = [EARLY_STOPPING[how] for how in column("early_stopping")]
        batch["beam"] = BeamControls(np.array(column("length_penalty"), np.float32), np.array(early, np.int32))
    if shape.hosted:
        batch[HOST] = {"stop": column("stop")}
    return batch


def collect(
    arrays: Sequence[Mapping[str, Any]], settings: Sequence[Settings], decode_bytes: DecodeBytes
) -> list[list[Generation]]:
    """The generations of each request, in the order of requests and samples.

    Args:
        arrays: what `generate` gave for each batch, or one piece of a `ChunkedDecoder.stream`.
        settings: of the requests.
        decode_bytes: the tokenizer's.
    """
    found: list[dict[int, Generation]] = [{} for _ in settings]
    for batch in arrays:
        batch = {name: np.asarray(value) for name, value in batch.items() if name != "text"} | {"text": batch.get("text")}
        for row, owner in enumerate(batch["owner"]):
            if owner >= 0:
                for rank, generation in _generations(batch, row, settings[owner], decode_bytes):
                    found[owner][int(batch["sample"][row]) + rank] = generation
    return [[samples[number] for number in sorted(samples)] for samples in found]


def _generations(batch, row: int, wish: Settings, decode_bytes: DecodeBytes):
    """(rank, generation): one for a sampled row, the best `num_samples` for a row of beams."""
    if "output" not in batch:
        yield 0, Generation(batch["text"][row], (), "")
    elif "scores" in batch:
        for rank in range(wish.num_samples):
            place = (row, rank)
            yield rank, _generation(batch, place, wish, decode_bytes, float(batch["scores"][place]))
    else:
        yield 0, _generation(batch, row, wish, decode_bytes)


def _generation(batch, place, wish: Settings, decode_bytes: DecodeBytes, score: float | None = None) -> Generation:
    ended = bool(batch["ended"][place])
    length = int(batch["num_tokens"][place])
    tokens = batch["output"][place][: length - ended].tolist()
    text, used, stopped = cut_text(decode_bytes, tokens, wish.stop)
    if batch["text"] is not None:
        text = batch["text"][place]
    log_probs = batch["log_probs"][place][: used if stopped else length].tolist() if wish.log_probs else None
    reason = "stop" if stopped else "eos" if ended else "length"
    return Generation(text, tuple(tokens[:used]), reason, None if log_probs is None else tuple(log_probs), score)
