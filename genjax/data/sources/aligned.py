"""Aligned text files: each line of one is what the same line of the other says, in another language or in other words."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import zip_longest
from pathlib import Path

from genjax.data.hashing import digest
from genjax.data.sources.document import Document, EncodingErrors
from genjax.data.sources.files import decode_text, find_files, hash_files, read_lines
from genjax.errors import DataError

FORMAT = "1"  # of the pairs: change it when the same files give other pairs than before


@dataclass(frozen=True)
class LinePair(Document):
    """A source and its target; `text` has one on a line after the other. Pairs of one source are a group.

    Attributes:
        source_length: characters of `text` that are the source.
    """

    source_length: int = 0

    @property
    def source(self) -> str:
        return self.text[: self.source_length]

    @property
    def target(self) -> str:
        return self.text[self.source_length + 1 :]

    @property
    def parts(self) -> tuple[str, ...]:
        return self.source, self.target


@dataclass(frozen=True)
class AlignedLines:
    """White space around a line is left out, and so are pairs of which a side is empty; files with no other are an error.

    Attributes:
        source, target: a file, folder or glob each, with equally many lines in all; `.gz` files are unpacked.
    """

    source: str
    target: str
    encoding_errors: EncodingErrors = "raise"

    @property
    def title(self) -> str:
        return f"{self.source} and {self.target}"

    @cached_property
    def files(self) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
        return find_files(self.source), find_files(self.target)

    @cached_property
    def fingerprint(self) -> str:
        return digest("aligned", FORMAT, self.encoding_errors, *map(hash_files, self.files))

    def __iter__(self) -> Iterator[LinePair]:
        """Raises DataError: files that are not aligned, or have no pair."""
        pairs = 0
        sides = [self._lines(files) for files in self.files]
        for number, (source, target) in enumerate(zip_longest(*sides), 1):
            if source is None or target is None:
                shorter, longer = (self.source, self.target) if source is None else (self.target, self.source)
                more = sum(1 for _ in sides[source is None]) + number
                raise DataError(
                    f"{shorter} has {number - 1:,} lines, {longer} has {more:,}; aligned files have equally many. "
                    "Name the two files of one corpus."
                )
            (name, source), (_, target) = source, target
            if source and target:
                pairs += 1
                yield LinePair(name, f"{source}\n{target}", group=source, source_length=len(source))
        if not pairs:
            raise DataError(f"{self.title} have no line with text on both sides; there is nothing to train on.")

    def _lines(self, files: tuple[Path, ...]) -> Iterator[tuple[str, str]]:
        for file in files:
            for number, offset, line in read_lines(file):
                name = f"{file}:{number}"
                yield name, decode_text(line, self.encoding_errors, name, offset).strip()
