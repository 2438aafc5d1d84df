"""What a source is: documents in a fixed order, and a fingerprint of them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

from genjax.data.code.languages import canonical
from genjax.errors import DataError

EncodingErrors = Literal["raise", "replace"]
# "leave_out" reads bytes that are not text as half surrogate pairs, by which a filter knows the document and leaves it out.
CodeEncodingErrors = Literal["raise", "replace", "leave_out"]


@dataclass(frozen=True)
class Document:
    """A text, and what is known of it; "" stands for what is not.

    Attributes:
        name: for messages and manifests: the path of a file, or file and line.
        text: never empty.
        language: the programming language, in lower case ("python").
        licence: an SPDX expression ("MIT").
        repository: the project that it belongs to.
        group: documents of one group stay on one side of the held-out split.
    """

    name: str
    text: str
    language: str = ""
    licence: str = ""
    repository: str = ""
    group: str = ""

    @property
    def parts(self) -> tuple[str, ...]:
        """The text in the parts that a tokenizer sees one by one."""
        return (self.text,)


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


def field_value(record: Mapping[str, Any], field: str, name: str, key: str = "data.text_field") -> str | bytes:
    """The text in a record's field; TFDS gives it as bytes.

    Args:
        key: where the config names the field, for messages.

    Raises:
        DataError: no such field (those that are there are named), or something else than text in it.
    """
    if field not in record:
        there = ", ".join(sorted(map(str, record))) or "no fields at all"
        raise DataError(f"{name} has no field {field!r}; it has {there}. Set {key} to the one that holds the text.")
    if not isinstance(record[field], (str, bytes)):
        kind = type(record[field]).__name__
        raise DataError(f"the field {field!r} of {name} holds {kind}, not text; set {key} to another.")
    return record[field]


@dataclass(frozen=True)
class Fields:
    """The fields of a record that say more of its text: their names. "" : there is none; a record may lack any of them."""

    language: str = ""
    licence: str = ""
    path: str = ""
    repository: str = ""

    def document(self, record: Mapping[str, Any], name: str, text: str) -> Document:
        """The document of a record that is called `name` unless it says its path."""
        return Document(
            _plain(record, self.path) or name,
            text,
            language=canonical(_plain(record, self.language)),
            licence=_plain(record, self.licence),
            repository=_plain(record, self.repository),
        )


NO_FIELDS = Fields()


def _plain(record: Mapping[str, Any], field: str) -> str:
    """A field's value as text; a list, as corpora give several licences, as an SPDX AND of its values."""
    value = record.get(field) if field else None
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return " AND ".join(filter(None, (_plain({field: each}, field) for each in value)))
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    return value.strip() if isinstance(value, str) else ""
