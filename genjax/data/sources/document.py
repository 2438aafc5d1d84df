"""What a source is: documents in a fixed order, and a fingerprint of them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

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
