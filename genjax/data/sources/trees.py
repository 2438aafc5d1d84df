"""The files below a folder or within archives, whichever of the two a path names."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from genjax.data.hashing import digest
from genjax.data.sources.archives import archive_stem, is_archive, members
from genjax.data.sources.files import find_files, hash_files
from genjax.errors import DataError


class Tree:
    """A folder, a zip or tar archive, or several of them (shards: a glob, or a folder with nothing else in it), in which a path
    begins with the archive's name without its ending.

    Args:
        path: `~` and `$NAME` are expanded.
        wanted: of a path within; other files are passed over.
        selection: sets the fingerprint of these files of an archive apart from that of others, where `wanted` depends on more
            than the kind of file.

    Attributes:
        title: for messages.
        files: what is hashed: the archives, or the wanted files of the folder.

    Raises:
        DataError: nothing there, or another kind of file.
    """

    def __init__(self, path: str, wanted: Callable[[str], bool], selection: str = ""):
        found = find_files(path)
        self.title, self.wanted, self.selection = path, wanted, selection
        self.archives = found if all(is_archive(file.name) for file in found) else ()
        if self.archives:
            self.files = found
            return
        self.root = Path(os.path.expanduser(os.path.expandvars(path)))
        if not self.root.is_dir():
            raise DataError(f"data.path {path!r} is neither a folder nor an archive (.zip, .tar.gz, ...); name one of these.")
        self.files = tuple(file for file in found if wanted(file.relative_to(self.root).as_posix()))

    @property
    def fingerprint(self) -> str:
        """16 hex digits of names and contents."""
        if self.archives:
            content = hash_files(self.files)
            return digest(content, self.selection) if self.selection else content
        names = "\n".join(file.relative_to(self.root).as_posix() for file in self.files)
        return digest(names, hash_files(self.files))

    def read(self, limit: int) -> Iterator[tuple[str, bytes]]:
        """(path within, content) of every wanted file. Of a larger file `limit` bytes and one more are given."""
        if len(self.archives) == 1:
            yield from members(self.archives[0], self.wanted, limit)
            return
        for archive in self.archives:
            stem = archive_stem(archive.name)
            within = lambda path, stem=stem: self.wanted(f"{stem}/{path}")  # noqa: E731
            for path, content in members(archive, within, limit):
                yield f"{stem}/{path}", content
        if self.archives:
            return
        for file in self.files:
            try:
                with open(file, "rb") as stream:
                    yield file.relative_to(self.root).as_posix(), stream.read(limit + 1)
            except OSError as error:
                raise DataError(f"the data file {file} cannot be read: {error.strerror or error}.") from error
