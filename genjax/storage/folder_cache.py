"""Folders that are made once and found again, safe when two processes want them at once: there is never half of one."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from genjax.errors import DataError

Found = TypeVar("Found")


def made_once(
    final: Path,
    find: Callable[[Path], Found | None],
    write: Callable[[Path], None],
    what: str,
    setting: str,
) -> Found:
    """What `find(final)` gives, after `write(folder)` made the folder if need be.

    `write` gets a temporary folder beside the final one, which takes its name when all is written. One process makes while
    others wait; where locks do not work (some network drives), both make and one is kept.

    Args:
        find: None where there is no such folder, or a damaged one, which is then made again.
        what: names the cache in messages, such as "the cache of tokenized text".
        setting: what says where it lies, for messages, such as "data.cache_dir".

    Raises:
        DataError: the folder cannot be written, or not be read back.
    """
    if (found := find(final)) is not None:
        return found
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        with _lock(final.with_name(f"{final.name}.lock")):
            if (found := find(final)) is not None:
                return found
            shutil.rmtree(final, ignore_errors=True)  # what is there could not be opened
            temporary = Path(tempfile.mkdtemp(prefix=f"{final.name}.", dir=final.parent))
            try:
                write(temporary)
                os.chmod(temporary, 0o755)  # mkdtemp's folders are closed to everyone else, and a cache may be shared
                with contextlib.suppress(OSError):  # another process was first
                    os.rename(temporary, final)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise DataError(
            f"{what} {final.parent} cannot be written: {error.strerror or error}. "
            f"Free some space, or set {setting} to another folder."
        ) from error
    found = find(final)
    if found is None:
        raise DataError(f"{what} {final} cannot be read back; remove it, or set {setting} to another folder.")
    return found


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    try:
        import fcntl
    except ImportError:  # not a Unix: renaming alone keeps the cache whole
        yield
        return
    with open(path, "w") as file:
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
