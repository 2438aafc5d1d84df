"""What a run held out, as requests with the texts that would answer them best."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from genjax.config import structure
from genjax.data.documents import documents
from genjax.data.speech import SpeechDataConfig, speech_source, split_sounds
from genjax.errors import RequestError


@dataclass(frozen=True)
class Reference:
    """A request, and the text that a person gave for it.

    Attributes:
        request: fields of the task's request.
        text: the reference.
    """

    request: Mapping[str, Any]
    text: str


def references(config: Mapping[str, Any]) -> Iterator[Reference]:
    """The held-out part of pairs of texts, or of speech, in the order of the source.

    Args:
        config: the section `data` of a run.

    Raises:
        RequestError: data of another kind.
        DataError: data that is no longer there, or cannot be read.
    """
    if config.get("name") == "line_pairs":
        return (Reference({"prompt": pair.source}, pair.target) for pair in documents(config, "evaluation"))
    if config.get("name") == "speech":
        speech = structure(SpeechDataConfig, config, "config.data")
        _, held_out = split_sounds(speech, list(speech_source(speech)))
        return (Reference({"sound": sound.name}, sound.text) for sound in held_out)
    raise RequestError(f"data.name {config.get('name')!r} has no references; those of 'line_pairs' and 'speech' have.")
