"""The embedded source that needs nothing: the running Python's standard library, some 600 files of real code and prose."""

import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from genjax.data.hashing import digest
from genjax.data.sources.document import CodeEncodingErrors, Document
from genjax.data.sources.files import LARGEST, hash_files, read_bytes
from genjax.data.sources.source_text import decode_source
from genjax.errors import DataError

TESTS = {"test", "tests", "idle_test"}
INSTALLED = {"site-packages", "dist-packages", "__pycache__"}


@dataclass(frozen=True)
class StandardLibrary:
    """The library's .py files, sorted by their path within it. The text depends on the version of Python.

    Attributes:
        include_tests: also the library's own tests, which are as much again.
    """

    include_tests: bool = False
    encoding_errors: CodeEncodingErrors = "replace"  # the tests hold files that are no text on purpose
    title = "Python's standard library"

    @cached_property
    def root(self) -> Path:
        return Path(sysconfig.get_path("stdlib"))

    @cached_property
    def files(self) -> tuple[Path, ...]:
        files = [f for f in self.root.rglob("*.py") if self._wanted(f.relative_to(self.root))]
        if not files:
            raise DataError(
                f"this Python keeps no standard library source in {self.root}; use data.source='files' with text of your own."
            )
        return tuple(sorted(files, key=lambda f: f.relative_to(self.root).as_posix()))

    @cached_property
    def fingerprint(self) -> str:
        return digest("stdlib 2", self.encoding_errors, hash_files(self.files))

    def __iter__(self) -> Iterator[Document]:
        for file in self.files:
            if text := decode_source(read_bytes(file, LARGEST + 1), self.encoding_errors, str(file), python=True):
                yield Document(file.relative_to(self.root).as_posix(), text, "python", "PSF-2.0", "cpython")

    def _wanted(self, relative: Path) -> bool:
        folders = set(relative.parts[:-1])
        return not folders & INSTALLED and (self.include_tests or not folders & TESTS)
