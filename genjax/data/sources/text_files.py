"""Plain text files: each is one document, or several with a separator between them."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from genjax.data.hashing import digest
from genjax.data.sources.document import Document, EncodingErrors
from genjax.data.sources.files import decode_text, find_files, hash_files, read_bytes
from genjax.errors import DataError


@dataclass(frozen=True)
class TextFiles:
    """Empty documents are left out; a source with no other is an error.

    Attributes:
        path: file, folder or glob; `.gz` files are unpacked.
        separator: text that ends a document within a file ("" : the file is one document).
    """

    path: str
    separator: str = ""
    encoding_errors: EncodingErrors = "raise"

    @property
    def title(self) -> str:
        return self.path

    @cached_property
    def files(self) -> tuple[Path, ...]:
        return find_files(self.path)

    @cached_property
    def fingerprint(self) -> str:
        return digest("text_files", self.separator, self.encoding_errors, hash_files(self.files))

    def __iter__(self) -> Iterator[Document]:
        documents = 0
        for file in self.files:
            text = decode_text(read_bytes(file), self.encoding_errors, str(file))
            parts = text.split(self.separator) if self.separator else [text]
            for number, part in enumerate(parts):
                if part:
                    documents += 1
                    yield Document(f"{file}#{number}" if self.separator else str(file), part)
        if not documents:
            which = f"the data file {self.files[0]} is" if len(self.files) == 1 else f"all files of {self.path} are"
            raise DataError(f"{which} empty; there is nothing to train on.")
