"""What a source is: documents in a fixed order, and a fingerprint of them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from genjax.errors import DataError

EncodingErrors = Literal["raise", "replace"]


@dataclass(frozen=True)
class Document:
    """`name` is for messages (file, line); `text` is never empty."""

    name: str
    text: str


class Source(Protocol):
    """Documents, always in the same order. A corpus may be larger than memory: one document is held at a time.

    Attributes:
        title: what to call the source in messages.
        fingerprint: changes when a document does; costs no more than reading the bytes once.
    """

    @property
    def title(self) -> str: ...

    @property
    def fingerprint(self) -> str: ...

    def __iter__(self) -> Iterator[Document]:
        """Raises DataError at the first document that cannot be read."""


def field_value(record: Mapping[str, Any], field: str, name: str) -> str | bytes:
    """The text in a record's field; TFDS gives it as bytes.

    Raises:
        DataError: no such field (those that are there are named), or something else than text in it.
    """
    if field not in record:
        there = ", ".join(sorted(map(str, record))) or "no fields at all"
        raise DataError(f"{name} has no field {field!r}; it has {there}. Set data.text_field to the one that holds the text.")
    if not isinstance(record[field], (str, bytes)):
        kind = type(record[field]).__name__
        raise DataError(f"the field {field!r} of {name} holds {kind}, not text; set data.text_field to another.")
    return record[field]
