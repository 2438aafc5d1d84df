"""IDX, the format of MNIST and its kin: a header of type and sizes, then the numbers (LeCun, Cortes and Burges, 1998)."""

from pathlib import Path

import numpy as np

from genjax.data.sources.files import read_bytes
from genjax.errors import DataError

TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read_idx(file: Path) -> np.ndarray:
    """The array of a file, packed with gzip or not. Raises DataError: unreadable, of another format, or cut off."""
    content = read_bytes(file)
    kind, axes = (content[2], content[3]) if len(content) >= 4 and content[:2] == b"\0\0" else (0, 0)
    if kind not in TYPES or not axes or len(content) < 4 + 4 * axes:
        raise DataError(f"{file} is not an IDX file; name one such as train-images-idx3-ubyte.gz.")
    shape = tuple(int(n) for n in np.frombuffer(content, ">u4", axes, 4))
    numbers = np.frombuffer(content, TYPES[kind], offset=4 + 4 * axes) if _whole(content, axes, kind, shape) else None
    if numbers is None:
        raise DataError(
            f"{file} says that it holds {'x'.join(map(str, shape))} numbers, but is of another length; copy it again."
        )
    return numbers.reshape(shape).astype(np.dtype(TYPES[kind]).newbyteorder("="))


def _whole(content: bytes, axes: int, kind: int, shape: tuple[int, ...]) -> bool:
    return len(content) - 4 - 4 * axes == int(np.prod(shape, dtype=np.int64)) * np.dtype(TYPES[kind]).itemsize
