"""What a user may ask of a continuation, and what is no sensible wish."""

from dataclasses import dataclass, field
from typing import Any, Literal

from genjax.errors import RequestError


def _knob(default: Any, help: str) -> Any:
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class Settings:
    """The knobs of one request. A task's request dataclass inherits them and adds its prompt."""

    max_new_tokens: int = _knob(0, "tokens to write at most; 0: what the context still holds, at most 256")
    min_new_tokens: int = _knob(0, "no end of text before so many tokens")
    temperature: float = _knob(1.0, "0: always the likeliest token; 1: the model's own distribution; above: more varied")
    top_k: int = _knob(0, "draw from the k likeliest tokens; 0: from all")
    top_p: float = _knob(1.0, "draw from the likeliest tokens that together have this probability; 1: from all")
    min_p: float = _knob(0.0, "draw from tokens at least this times as likely as the likeliest; 0: from all")
    repetition_penalty: float = _knob(1.0, "above 1: tokens already in the text become less likely; 1: off")
    num_samples: int = _knob(1, "texts for each prompt; with beams, the best so many of them")
    stop: tuple[str, ...] = _knob((), "end before this text (repeatable)")
    ignore_eos: bool = _knob(False, "write on after the end-of-text token")
    log_probs: bool = _knob(False, "give the log-probability of each token under the model's own distribution")
    num_beams: int = _knob(1, "beam search with so many beams; 1: sampling")
    length_penalty: float = _knob(1.0, "beams are ranked by log-probability / length ** length_penalty")
    early_stopping: Literal["heuristic", "full", "never"] = _knob(
        "heuristic", "end beam search when better ones are unlikely, when the list is full, or when no better one is possible"
    )


def check(settings: Settings) -> None:
    """Raises RequestError for a value out of range or for knobs that exclude each other."""
    s = settings
    for name, low, high in (
        ("max_new_tokens", 0, None),
        ("min_new_tokens", 0, None),
        ("temperature", 0, None),
        ("top_k", 0, None),
        ("top_p", 0, 1),
        ("min_p", 0, 1),
        ("num_samples", 1, None),
        ("num_beams", 1, None),
    ):
        value = getattr(s, name)
        if not low <= value <= (float("inf") if high is None else high):
            expected = f"{low} or more" if high is None else f"between {low} and {high}"
            raise RequestError(f"{name} must be {expected}, but is {value}.")
    if not 0 < s.repetition_penalty < float("inf"):
        raise RequestError(f"repetition_penalty must be above 0, but is {s.repetition_penalty}; 1 is off.")
    if s.max_new_tokens and s.min_new_tokens > s.max_new_tokens:
        raise RequestError(f"min_new_tokens {s.min_new_tokens} is above max_new_tokens {s.max_new_tokens}.")
    if "" in s.stop:
        raise RequestError("a stop text is empty; give at least one character, or leave stop out.")
    if s.num_beams > 1:
        _check_beams(s)


def _check_beams(s: Settings) -> None:
    if s.num_samples > s.num_beams:
        raise RequestError(f"num_samples {s.num_samples} is above num_beams {s.num_beams}; raise num_beams.")
    off = {"top_k": (0,), "top_p": (1.0,), "min_p": (0.0,), "temperature": (0.0, 1.0)}
    used = [name for name, values in off.items() if getattr(s, name) not in values]
    if used:
        raise RequestError(f"beam search does not sample: {', '.join(used)} cannot be set together with num_beams {s.num_beams}.")
