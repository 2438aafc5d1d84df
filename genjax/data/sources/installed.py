"""The source of the Python packages that are installed beside this Python: more code that is at hand without a download."""

import importlib.metadata
import re
import sysconfig
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from genjax.data.code.licences import LICENCE_FILE, declared_licence, guess_licence, named_licence
from genjax.data.hashing import digest
from genjax.data.sources.document import CodeEncodingErrors, Document
from genjax.data.sources.files import LARGEST, hash_files, read_bytes
from genjax.data.sources.source_text import decode_source
from genjax.data.sources.stdlib import TESTS
from genjax.errors import DataError


@dataclass(frozen=True)
class InstalledPackages:
    """The .py files in site-packages, package by package; `Document.repository` is the distribution ("numpy").

    The text depends on what is installed. Licences are those of the distributions' metadata.

    Attributes:
        include_tests: also folders called test or tests.
    """

    include_tests: bool = False
    encoding_errors: CodeEncodingErrors = "leave_out"
    title = "the installed packages"

    @cached_property
    def folders(self) -> tuple[Path, ...]:
        return tuple(dict.fromkeys(Path(sysconfig.get_path(name)) for name in ("purelib", "platlib")))

    @cached_property
    def owners(self) -> Mapping[Path, tuple[str, str]]:
        """(distribution, licence) of every .py file that a distribution lists as its own."""
        owners = {}
        for distribution in importlib.metadata.distributions(path=[str(folder) for folder in self.folders]):
            name = distribution.metadata["Name"]
            listed = [file for file in distribution.files or () if file.suffix == ".py"]
            if name and listed:
                owner = re.sub(r"[-_.]+", "-", name).lower(), _licence(distribution)
                owners |= {Path(distribution.locate_file(file)): owner for file in listed}
        return owners

    @cached_property
    def documents(self) -> tuple[tuple[str, str, str, Path], ...]:
        """(repository, path within site-packages, licence, file), sorted."""
        found = []
        for folder in self.folders:
            for file in folder.rglob("*.py"):
                relative = file.relative_to(folder)
                if not self.include_tests and set(relative.parts[:-1]) & TESTS:
                    continue
                repository, licence = self.owners.get(file, (relative.parts[0].removesuffix(".py"), ""))
                found.append((repository, relative.as_posix(), licence, file))
        if not found:
            raise DataError(f"no Python packages are installed in {', '.join(map(str, self.folders))}; use another data.source.")
        return tuple(sorted(found))

    @cached_property
    def fingerprint(self) -> str:
        names = [part for repository, path, licence, _ in self.documents for part in (repository, path, licence)]
        return digest("installed", self.encoding_errors, *names, hash_files(tuple(file for *_, file in self.documents)))

    def __iter__(self) -> Iterator[Document]:
        for repository, path, licence, file in self.documents:
            text = decode_source(read_bytes(file, LARGEST + 1), self.encoding_errors, str(file), python=True)
            if text:
                yield Document(path, text, "python", declared_licence(text) or licence, repository)


def _licence(distribution: importlib.metadata.Distribution) -> str:
    """What the metadata say: an SPDX expression, a name, a classifier that is not ambiguous, or a guess from the text."""
    metadata = distribution.metadata
    if expression := metadata.get("License-Expression"):
        return expression.strip()
    text = metadata.get("License") or ""
    classifiers = [line.split("::")[-1] for line in metadata.get_all("Classifier") or () if line.startswith("License ::")]
    known = {named_licence(name) for name in classifiers}
    if licence := named_licence(text) or (known.pop() if len(known) == 1 else "") or guess_licence(text):
        return licence
    for file in distribution.files or ():
        if file.parts[0].endswith(".dist-info") and LICENCE_FILE.fullmatch(file.name):
            if licence := guess_licence(distribution.read_text("/".join(file.parts[1:])) or ""):
                return licence
    return ""
