"""Source files of folders and archives: those whose names say that they are code."""

import glob
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from genjax.data.code.languages import language_of
from genjax.data.code.licences import LICENCE_FILE, declared_licence, guess_licence
from genjax.data.hashing import digest
from genjax.data.sources.archives import archive_stem, is_archive, members
from genjax.data.sources.document import CodeEncodingErrors, Document
from genjax.data.sources.files import LARGEST, find_files, hash_files, read_bytes
from genjax.data.sources.source_text import decode_source
from genjax.errors import DataError


@dataclass(frozen=True)
class CodeFiles:
    """A document a file whose name the table of languages knows; archives are read as if they were folders.

    A file's licence is what its own header declares (SPDX), or the licence file nearest to it, in its folder or above.

    Attributes:
        path: a folder, an archive (.zip, .tar, .tar.gz, .tar.bz2, .tar.xz), a file or a glob of these. `Document.name` is the
            path within it.
        repository_depth: how many folders of that path name the repository; files above them, or all where it is 0, belong
            to the repository called like the folder or the archive itself.
    """

    path: str
    repository_depth: int = 1
    encoding_errors: CodeEncodingErrors = "leave_out"

    @property
    def title(self) -> str:
        return self.path

    @cached_property
    def found(self) -> tuple[Path, ...]:
        return find_files(self.path)

    @cached_property
    def files(self) -> tuple[Path, ...]:
        return tuple(file for file in self.found if is_archive(file.name) or language_of(file.name))

    @cached_property
    def root(self) -> Path:
        """The folder that names are relative to: of a glob, the part before its first wildcard."""
        expanded = Path(os.path.expanduser(os.path.expandvars(self.path)))
        if expanded.is_dir():
            return expanded
        fixed = expanded.parent
        while glob.has_magic(str(fixed)):
            fixed = fixed.parent
        return fixed

    @cached_property
    def folder_licences(self) -> Mapping[str, str]:
        """The licence that lies in each folder above a file; archives have their own."""
        folders = {parent for file in self.files for parent in file.relative_to(self.root).parents}
        return {folder.as_posix(): licence for folder in sorted(folders) if (licence := _licence_in(self.root / folder))}

    @cached_property
    def fingerprint(self) -> str:
        names = [file.relative_to(self.root).as_posix() for file in self.files]
        settings = (str(self.repository_depth), self.encoding_errors, repr(sorted(self.folder_licences.items())))
        return digest("code_files", *settings, *names, hash_files(self.files))

    def __iter__(self) -> Iterator[Document]:
        documents = 0
        for file in self.files:
            path = file.relative_to(self.root).as_posix()
            if is_archive(file.name):
                found = self._members(file, "" if len(self.found) == 1 else f"{path}/")
            else:
                content = read_bytes(file, LARGEST + 1)
                found = iter([self._document(path, content, self.root.resolve().name, self.folder_licences, str(file))])
            for document in found:
                if document.text:
                    documents += 1
                    yield document
        if not documents:
            endings = sorted({file.suffix or file.name for file in self.found})
            raise DataError(
                f"{self.path} holds no code: none of its {len(self.found):,} files ({', '.join(endings[:10])}) or their members "
                "is a source file with something in it; check data.path, or use data.name='text'."
            )

    def _members(self, archive: Path, prefix: str) -> Iterator[Document]:
        licences: dict[str, str] = {}
        for path, content in members(archive, lambda path: _is_licence(path.rsplit("/")[-1]), LARGEST):
            _add_licence(licences, str(PurePosixPath(path).parent), content)
        name = archive_stem(archive.name)
        for path, content in members(archive, lambda path: bool(language_of(path)), LARGEST):
            yield self._document(path, content, name, licences, f"{archive}/{path}", prefix)

    def _document(
        self, path: str, content: bytes, project: str, licences: Mapping[str, str], where: str, prefix: str = ""
    ) -> Document:
        language = language_of(path)
        text = decode_source(content, self.encoding_errors, where, python=language == "python")
        above = (licences[str(folder)] for folder in PurePosixPath(path).parents if str(folder) in licences)
        licence = declared_licence(text) or next(above, "")
        folders = PurePosixPath(path).parts[:-1]
        repository = "/".join(folders[: self.repository_depth]) or project
        return Document(prefix + path, text, language, licence, repository)


def _is_licence(name: str) -> bool:
    return LICENCE_FILE.fullmatch(name) is not None and language_of(name) in ("", "markdown", "restructuredtext")


def _licence_in(folder: Path) -> str:
    licences: dict[str, str] = {}
    for file in sorted(folder.iterdir()):
        if _is_licence(file.name) and file.is_file():
            _add_licence(licences, "", read_bytes(file, LARGEST))
    return licences.get("", "")


def _add_licence(licences: dict[str, str], folder: str, content: bytes) -> None:
    """Of several licences in one folder, each counts: whoever may use only one of them must not find the other hidden."""
    licence = guess_licence(content.decode("utf-8", "replace"))
    known = licences.get(folder, "").split(" AND ")
    if licence and licence not in known:
        licences[folder] = " AND ".join(sorted(filter(None, [*known, licence])))
