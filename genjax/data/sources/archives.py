"""Members of zip and tar archives, read one after the other; nothing is written to disk."""

import bz2
import gzip
import lzma
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from genjax.data.sources.files import is_hidden
from genjax.errors import DataError

ZIP = (".zip", ".whl")
TAR = {
    **{".tar": open, ".tar.gz": gzip.open, ".tgz": gzip.open, ".tar.bz2": bz2.open, ".tbz2": bz2.open},
    **{".tar.xz": lzma.open, ".txz": lzma.open},
}
# Code shrinks to a fifth or a tenth. An archive that unpacks to more than this many times its size, and is not small, is a
# bomb or holds something else than code.
LARGEST_RATIO, ALWAYS_ALLOWED = 200, 1 << 28
DAMAGE = (
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, struct.error),
    *(EOFError, OSError, ValueError, RuntimeError),
)


def is_archive(name: str) -> bool:
    """Whether the file's name ends as that of an archive that can be read."""
    return name.lower().endswith((*ZIP, *TAR))


def archive_stem(name: str) -> str:
    """The archive's name without the ending that makes it one: "project-1.0.tar.gz" is "project-1.0"."""
    return name[: -max(len(ending) for ending in (*ZIP, *TAR) if name.lower().endswith(ending))]


def members(file: Path, wanted: Callable[[str], bool], limit: int) -> Iterator[tuple[str, bytes]]:
    """The regular files in an archive, in its own order: (path within, content).

    Paths have no leading slash and no "..". Links, devices, folders and hidden files are passed over.

    Args:
        wanted: of a path within; the others are not unpacked (a tar's must still be read over).
        limit: of a larger member, this many bytes and one more are given.

    Raises:
        DataError: damaged, encrypted, or unpacking to far more than code could.
    """
    try:
        yield from (_zip if file.name.lower().endswith(ZIP) else _tar)(file, wanted, limit)
    except DAMAGE as error:
        reason = str(error).strip() or type(error).__name__
        raise DataError(f"the archive {file} cannot be read: {reason}; restore it, or leave it out of data.path.") from error


def _zip(file: Path, wanted: Callable[[str], bool], limit: int) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(file) as archive:
        if sum(info.file_size for info in archive.infolist()) > _most(file):
            raise _bomb(file)
        for info in archive.infolist():
            path = _safe(info.filename)
            if info.is_dir() or stat.S_ISLNK(info.external_attr >> 16) or not _chosen(path, wanted):
                continue
            if info.flag_bits & 1:
                raise DataError(f"the archive {file} is encrypted; unpack it yourself and set data.path to the folder.")
            with archive.open(info) as stream:
                yield path, stream.read(limit + 1)


def _tar(file: Path, wanted: Callable[[str], bool], limit: int) -> Iterator[tuple[str, bytes]]:
    opener = next(opener for ending, opener in TAR.items() if file.name.lower().endswith(ending))
    with opener(file, "rb") as unpacked, tarfile.open(fileobj=_Bounded(unpacked, file), mode="r|") as archive:
        for member in archive:
            archive.members = []  # it would keep a record of every member that went by
            path = _safe(member.name)
            if member.isreg() and _chosen(path, wanted):
                yield path, archive.extractfile(member).read(limit + 1)


class _Bounded:
    """A stream that ends in an error when more comes out of it than an archive of code could hold."""

    def __init__(self, stream: BinaryIO, file: Path):
        self.stream, self.file, self.left = stream, file, _most(file)

    def read(self, size: int) -> bytes:
        content = self.stream.read(size)
        self.left -= len(content)
        if self.left < 0:
            raise _bomb(self.file)
        return content


def _most(file: Path) -> int:
    return max(ALWAYS_ALLOWED, LARGEST_RATIO * file.stat().st_size)


def _bomb(file: Path) -> DataError:
    return DataError(
        f"the archive {file} of {file.stat().st_size:,} bytes unpacks to more than {_most(file):,}, which no archive of code "
        "does; unpack it yourself and set data.path to the folder, or leave it out."
    )


def _safe(name: str) -> str:
    return str(PurePosixPath(*(part for part in name.replace("\\", "/").split("/") if part not in ("", ".", ".."))))


def _chosen(path: str, wanted: Callable[[str], bool]) -> bool:
    return path != "." and not is_hidden(PurePosixPath(path)) and wanted(path)
