"""JSON lines: every line an object, one field of which is the document."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from genjax.data.hashing import digest
from genjax.data.sources.document import NO_FIELDS, CodeEncodingErrors, Document, Fields, field_value
from genjax.data.sources.files import decode_text, find_files, hash_files, read_lines
from genjax.errors import DataError


@dataclass(frozen=True)
class JsonLines:
    """Blank lines and empty texts are left out; a source with nothing else is an error.

    Attributes:
        path: file, folder or glob; `.gz` files are unpacked.
        text_field: the field that holds the text.
        fields: those that say more of it.
    """

    path: str
    text_field: str = "text"
    encoding_errors: CodeEncodingErrors = "raise"
    fields: Fields = NO_FIELDS

    @property
    def title(self) -> str:
        return self.path

    @cached_property
    def files(self) -> tuple[Path, ...]:
        return find_files(self.path)

    @cached_property
    def fingerprint(self) -> str:
        more = [repr(self.fields)] if self.fields != NO_FIELDS else []
        return digest("jsonl", self.text_field, self.encoding_errors, hash_files(self.files), *more)

    def __iter__(self) -> Iterator[Document]:
        documents = 0
        for name, record in self.records():
            if text := self.text_of(record, self.text_field, name):
                documents += 1
                yield self.fields.document(record, name, text)
        if not documents:
            raise DataError(
                f"{self.path} holds no line with text in the field {self.text_field!r}; there is nothing to train on."
            )

    def records(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """(file and line, object) of every line that is not blank. Raises DataError: a line that is no JSON object."""
        for file in self.files:
            for number, offset, line in read_lines(file):
                if line.strip():
                    name = f"{file}, line {number}"
                    yield name, self._record(decode_text(line, self.encoding_errors, name, offset), name)

    def _record(self, line: str, name: str) -> Mapping[str, Any]:
        try:
            record = json.loads(line.rstrip())
        except json.JSONDecodeError as error:
            raise DataError(
                f"{name} is not JSON ({error.msg} at character {error.colno}); correct or remove the line."
            ) from error
        except (ValueError, RecursionError) as error:  # numbers of thousands of digits, lists in thousands of lists
            raise DataError(f"{name} cannot be read as JSON ({error}); correct or remove the line.") from error
        if not isinstance(record, dict):
            raise DataError(
                f"{name} is not a JSON object but {_kind(record)}; every line must be like {{{self.text_field!r}: ...}}."
            )
        return record

    def text_of(self, record: Mapping[str, Any], field: str, name: str, key: str = "data.text_field") -> str:
        """The text in a field of a record, with halves of surrogate pairs treated as `encoding_errors` says.

        Args:
            key: where the config names the field, for messages.

        Raises:
            DataError: no such field, or no text in it.
        """
        text = field_value(record, field, name, key)
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:  # JSON can spell half of a surrogate pair
            if self.encoding_errors == "raise":
                raise DataError(
                    f"{name} holds half a surrogate pair (\\u{ord(text[error.start]):04x}), which is no character; "
                    "correct the line, or set data.encoding_errors='replace'."
                ) from error
            if self.encoding_errors == "replace":
                text = text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
        return text


def _kind(value) -> str:
    return {list: "a list", str: "a text", bool: "a truth value", type(None): "null"}.get(type(value), "a number")
