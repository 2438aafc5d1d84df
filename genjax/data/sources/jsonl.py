"""JSON lines: every line an object, one field of which is the document."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from genjax.data.hashing import digest
from genjax.data.sources.document import Document, EncodingErrors, field_value
from genjax.data.sources.files import decode_text, find_files, hash_files, read_lines
from genjax.errors import DataError


@dataclass(frozen=True)
class JsonLines:
    """Blank lines and empty texts are left out; a source with nothing else is an error.

    Attributes:
        path: file, folder or glob; `.gz` files are unpacked.
        text_field: the field that holds the text.
    """

    path: str
    text_field: str = "text"
    encoding_errors: EncodingErrors = "raise"

    @property
    def title(self) -> str:
        return self.path

    @cached_property
    def files(self) -> tuple[Path, ...]:
        return find_files(self.path)

    @cached_property
    def fingerprint(self) -> str:
        return digest("jsonl", self.text_field, self.encoding_errors, hash_files(self.files))

    def __iter__(self) -> Iterator[Document]:
        documents = 0
        for file in self.files:
            for number, offset, line in read_lines(file):
                if not line.strip():
                    continue
                name = f"{file}, line {number}"
                text = self._text(decode_text(line, self.encoding_errors, name, offset), name)
                if text:
                    documents += 1
                    yield Document(name, text)
        if not documents:
            raise DataError(
                f"{self.path} holds no line with text in the field {self.text_field!r}; there is nothing to train on."
            )

    def _text(self, line: str, name: str) -> str:
        try:
            record = json.loads(line.rstrip())
        except json.JSONDecodeError as error:
            raise DataError(
                f"{name} is not JSON ({error.msg} at character {error.colno}); correct or remove the line."
            ) from error
        if not isinstance(record, dict):
            raise DataError(
                f"{name} is not a JSON object but {_kind(record)}; every line must be like {{{self.text_field!r}: ...}}."
            )
        text = field_value(record, self.text_field, name)
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:  # JSON can spell half of a surrogate pair
            if self.encoding_errors == "raise":
                raise DataError(
                    f"{name} holds half a surrogate pair (\\u{ord(text[error.start]):04x}), which is no character; "
                    "correct the line, or set data.encoding_errors='replace'."
                ) from error
            text = text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
        return text


def _kind(value) -> str:
    return {list: "a list", str: "a text", bool: "a truth value", type(None): "null"}.get(type(value), "a number")
