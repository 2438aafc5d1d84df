"""Arrays that are read piece by piece: a shape, a dtype and a function from an index to numpy.

Weights move between a file and the devices as lazy arrays. Transposing, splitting or stacking one only changes which piece of
the source a later `read` asks for, so a device's slice of a parameter costs the host no more than that slice.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jax
import numpy as np
from jax import lax

from genjax.errors import CheckpointError

Index = tuple[slice, ...]  # one slice for each axis, with start and stop, step 1


@dataclass(frozen=True)
class LazyArray:
    """An array that `read` brings to the host.

    Attributes:
        shape: of the whole array.
        dtype: of what `read` returns.
        read: from one slice for each axis (start and stop given, no step) to a numpy array of that extent.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    read: Callable[[Index], np.ndarray]

    def __getitem__(self, index: Index) -> np.ndarray:
        return self.read(concrete(index, self.shape))

    def load(self) -> np.ndarray:
        return self.read(whole(self.shape))


def whole(shape: Sequence[int]) -> Index:
    return tuple(slice(0, n) for n in shape)


def concrete(index: Sequence[slice], shape: Sequence[int]) -> Index:
    """The same index with every start and stop written out, as a sharding's index map leaves them open."""
    return tuple(slice(*s.indices(n)[:2]) for s, n in zip(index, shape, strict=True))


def shape_only(shape: Sequence[int], dtype=np.float32) -> LazyArray:
    """An array that has a shape and no content: shapes flow through transforms as arrays do."""

    def read(index: Index) -> np.ndarray:
        raise TypeError("an array that has only a shape cannot be read")

    return LazyArray(tuple(shape), np.dtype(dtype), read)


def of_array(array: np.ndarray | jax.Array) -> LazyArray:
    """A host or device array. Each read copies its piece alone to the host and leaves no host copy behind in `array`."""
    if isinstance(array, np.ndarray):
        return LazyArray(array.shape, array.dtype, lambda index: array[index])
    if not array.is_fully_addressable:
        raise CheckpointError(
            "the parameters are spread over several processes; to write them, restore the checkpoint in one process."
        )

    def read(index: Index) -> np.ndarray:
        starts = [s.start for s in index]
        sizes = tuple(s.stop - s.start for s in index)
        return np.asarray(_piece(array, starts, sizes))  # of a temporary: jax keeps a host copy with the array it is asked of

    return LazyArray(array.shape, np.dtype(array.dtype), read)


@jax.jit(static_argnums=2)
def _piece(array: jax.Array, starts: list, sizes: tuple[int, ...]) -> jax.Array:
    return lax.dynamic_slice(array, starts, sizes) if sizes else array


def permute(source: LazyArray, axes: Sequence[int]) -> LazyArray:
    """Axis i of the result is axis `axes[i]` of the source."""

    def read(index: Index) -> np.ndarray:
        asked: list = [None] * len(axes)
        for position, axis in enumerate(axes):
            asked[axis] = index[position]
        return source.read(tuple(asked)).transpose(axes)

    return LazyArray(tuple(source.shape[a] for a in axes), source.dtype, read)


def split_axis(source: LazyArray, axis: int, sizes: Sequence[int]) -> LazyArray:
    """One axis becomes several; one size may be -1. Reads whole rows of the first of them."""
    sizes = _resolved(sizes, source.shape[axis])
    row = int(np.prod(sizes[1:]))

    def read(index: Index) -> np.ndarray:
        first, inner = index[axis], index[axis + 1 : axis + len(sizes)]
        before, after = index[:axis], index[axis + len(sizes) :]
        piece = source.read((*before, slice(first.start * row, first.stop * row), *after))
        piece = piece.reshape(*piece.shape[:axis], first.stop - first.start, *sizes[1:], *piece.shape[axis + 1 :])
        return piece[(*_all(axis + 1), *inner)]

    return LazyArray((*source.shape[:axis], *sizes, *source.shape[axis + 1 :]), source.dtype, read)


def merge_axes(source: LazyArray, axis: int, count: int) -> LazyArray:
    """`count` axes from `axis` on become one, the first of them the slowest."""
    sizes = source.shape[axis : axis + count]
    row = int(np.prod(sizes[1:]))

    def read(index: Index) -> np.ndarray:
        asked = index[axis]
        first, last = (asked.start // row, -(-asked.stop // row)) if row else (0, 0)
        inner = (slice(0, n) for n in sizes[1:])
        piece = source.read((*index[:axis], slice(first, last), *inner, *index[axis + 1 :]))
        piece = piece.reshape(*piece.shape[:axis], (last - first) * row, *piece.shape[axis + count :])
        return piece[(*_all(axis), slice(asked.start - first * row, asked.stop - first * row))]

    return LazyArray((*source.shape[:axis], sizes[0] * row, *source.shape[axis + count :]), source.dtype, read)


def part(source: LazyArray, axis: int, start: int, size: int) -> LazyArray:
    """`size` entries of `axis`, from `start` on."""

    def read(index: Index) -> np.ndarray:
        asked = slice(index[axis].start + start, index[axis].stop + start)
        return source.read((*index[:axis], asked, *index[axis + 1 :]))

    return LazyArray((*source.shape[:axis], size, *source.shape[axis + 1 :]), source.dtype, read)


def concatenate(sources: Sequence[LazyArray], axis: int) -> LazyArray:
    sizes = [source.shape[axis] for source in sources]
    starts = np.cumsum([0, *sizes])

    def read(index: Index) -> np.ndarray:
        asked, pieces = index[axis], []
        for source, start, size in zip(sources, starts, sizes, strict=False):
            first, last = max(asked.start - start, 0), min(asked.stop - start, size)
            if first < last:
                pieces.append(source.read((*index[:axis], slice(int(first), int(last)), *index[axis + 1 :])))
        if not pieces:
            pieces = [sources[0].read((*index[:axis], slice(0, 0), *index[axis + 1 :]))]
        return np.concatenate(pieces, axis)

    return LazyArray((*sources[0].shape[:axis], int(starts[-1]), *sources[0].shape[axis + 1 :]), sources[0].dtype, read)


def grow(source: LazyArray, axis: int, size: int, piece_bytes: int = 1 << 26) -> LazyArray:
    """`axis` becomes `size` long; its new entries are all the mean of those that were there (read once, in pieces)."""
    length = source.shape[axis]

    @functools.cache
    def mean() -> np.ndarray:
        total = np.zeros([1 if i == axis else n for i, n in enumerate(source.shape)])
        step = max(1, piece_bytes // max(1, total.nbytes))
        for start in range(0, length, step):
            index = list(whole(source.shape))
            index[axis] = slice(start, min(start + step, length))
            total += source.read(tuple(index)).sum(axis, keepdims=True, dtype=np.float64)
        return (total / length).astype(source.dtype)

    def read(index: Index) -> np.ndarray:
        asked = tuple(slice(0, 1) if i == axis else s for i, s in enumerate(index))
        return np.repeat(mean()[asked], index[axis].stop - index[axis].start, axis)

    shape = tuple(size - length if i == axis else n for i, n in enumerate(source.shape))
    return concatenate([source, LazyArray(shape, source.dtype, read)], axis)


def stack(sources: Sequence[LazyArray]) -> LazyArray:
    """A new leading axis, as a scanned model's parameters have. One buffer is allocated and filled layer by layer."""
    first = sources[0]

    def read(index: Index) -> np.ndarray:
        chosen, inner = sources[index[0]], index[1:]
        out = np.empty((len(chosen), *(s.stop - s.start for s in inner)), first.dtype)
        for i, source in enumerate(chosen):
            out[i] = source.read(inner)
        return out

    return LazyArray((len(sources), *first.shape), first.dtype, read)


def take(source: LazyArray, position: int) -> LazyArray:
    """One entry of the leading axis."""

    def read(index: Index) -> np.ndarray:
        return source.read((slice(position, position + 1), *index))[0]

    return LazyArray(source.shape[1:], source.dtype, read)


def cast(source: LazyArray, dtype) -> LazyArray:
    """Floating-point arrays in `dtype`, rounded to nearest even; others as they are."""
    dtype = np.dtype(dtype)
    if not jax.numpy.issubdtype(source.dtype, np.floating) or source.dtype == dtype:
        return source
    return LazyArray(source.shape, dtype, lambda index: source.read(index).astype(dtype))


def equal(one: LazyArray, other: LazyArray, piece_bytes: int = 1 << 26) -> bool:
    """Whether two arrays hold the same bits, compared a few rows at a time."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    if not one.shape:
        return one.load().tobytes() == other.load().tobytes()
    row_bytes = max(1, int(np.prod(one.shape[1:])) * one.dtype.itemsize)
    step = max(1, piece_bytes // row_bytes)
    for start in range(0, one.shape[0], step):
        index = (slice(start, min(start + step, one.shape[0])), *whole(one.shape[1:]))
        if one.read(index).tobytes() != other.read(index).tobytes():
            return False
    return True


def _all(count: int) -> Index:
    return (slice(None),) * count


def _resolved(sizes: Sequence[int], total: int) -> tuple[int, ...]:
    known = int(np.prod([n for n in sizes if n != -1]))
    return tuple(total // known if n == -1 else n for n in sizes)
