"""Finding and reading files, packed with gzip or not: what the text and the JSON lines sources share."""

import difflib
import glob
import gzip
import hashlib
import os
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path, PurePath
from typing import BinaryIO

from genjax.data.sources.document import CodeEncodingErrors
from genjax.errors import DataError

BLOCK = 1 << 22
LARGEST = 1 << 24  # bytes that are read of one file of code: more than any filter lets pass, so that it is counted as too large


def find_files(path: str) -> tuple[Path, ...]:
    """The files that `path` names, sorted by name.

    Args:
        path: a file, a folder (every file below it, hidden ones left out) or a glob (`**` crosses folders). `~` and `$NAME`
            are expanded.

    Raises:
        DataError: nothing there, or nothing in it.
    """
    expanded = os.path.expanduser(os.path.expandvars(path))
    if not path:
        raise DataError("data.path is empty; set it to a text file, a folder or a glob such as 'books/**/*.txt'.")
    if "$" in expanded and not os.path.exists(expanded):
        raise DataError(f"data.path {path!r} names an environment variable that is not set; set it, or give the path in full.")
    found = Path(expanded)
    if found.is_file():
        return (found,)
    if found.is_dir():
        files = sorted(f for f in found.rglob("*") if f.is_file() and not is_hidden(f.relative_to(found)))
        if not files:
            raise DataError(f"the folder {found} holds no files; put text files there, or set data.path to another.")
        return tuple(files)
    if glob.has_magic(expanded):
        files = sorted(Path(f) for f in glob.glob(expanded, recursive=True) if Path(f).is_file())
        if not files:
            raise DataError(f"no file matches {path!r}; check data.path.")
        return tuple(files)
    raise DataError(f"the data file {found} does not exist{_nearest(found)}")


def read_bytes(file: Path, limit: int = -1) -> bytes:
    """The content, unpacked, at most `limit` bytes of it. Raises DataError: unreadable, or damaged gzip."""
    with open_file(file) as stream:
        return _guard(file, partial(stream.read, limit))


def read_lines(file: Path) -> Iterator[tuple[int, int, bytes]]:
    """(line number from 1, offset of the line in bytes, line) of the unpacked content; one line is held at a time."""
    offset = 0
    with open_file(file) as stream:
        number = 0
        while line := _guard(file, stream.readline):
            number += 1
            yield number, offset, line
            offset += len(line)


def open_file(file: Path) -> BinaryIO:
    try:
        return gzip.open(file, "rb") if file.suffix == ".gz" else open(file, "rb")
    except OSError as error:
        raise DataError(f"the data file {file} cannot be read: {error.strerror or error}.") from error


def hash_files(files: tuple[Path, ...]) -> str:
    """16 hex digits of the files' bytes, in order: moving or touching a file changes nothing, editing one does."""
    total = hashlib.sha256()
    for file in files:
        content = hashlib.sha256()
        try:
            with open(file, "rb") as stream:
                while block := stream.read(BLOCK):
                    content.update(block)
        except OSError as error:
            raise DataError(f"the data file {file} cannot be read: {error.strerror or error}.") from error
        total.update(content.digest())
    return total.hexdigest()[:16]


def decode_text(content: bytes, encoding_errors: CodeEncodingErrors, where: str, offset: int = 0) -> str:
    """UTF-8 text of `content`, a leading byte order mark left out.

    Args:
        where: file (and line) for the message.
        offset: where `content` begins in the file, for the message.
    """
    try:
        return content.decode("utf-8", "strict").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        if encoding_errors != "raise":
            handler = "replace" if encoding_errors == "replace" else "surrogateescape"
            return content.decode("utf-8", handler).removeprefix("\ufeff")
        raise DataError(
            f"{where} is not UTF-8 text: byte 0x{content[error.start]:02x} at offset {offset + error.start:,}. "
            "Convert the file (iconv -f latin1 -t utf-8), leave it out of data.path, or set data.encoding_errors='replace'."
        ) from error


def _guard(file: Path, read):
    try:
        return read()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"the data file {file} cannot be read: {error}.") from error


def is_hidden(relative: PurePath) -> bool:
    """Whether the file or a folder of its path begins with a dot."""
    return any(part.startswith(".") for part in relative.parts)


def _nearest(missing: Path) -> str:
    if not missing.parent.is_dir():
        return f"; neither does its folder {missing.parent}."
    near = difflib.get_close_matches(missing.name, [f.name for f in missing.parent.iterdir()], n=1, cutoff=0.6)
    return f"; did you mean {missing.parent / near[0]}?" if near else "; check data.path."
