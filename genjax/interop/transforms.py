"""How one of their tensors becomes one or more of our parameters, and back.

Each transform works on a tuple of lazy arrays; `to_ours` and `to_theirs` undo each other. They move entries and compute nothing,
so a checkpoint that is read and written again has the same bits.
"""

from dataclasses import dataclass
from typing import Protocol

from genjax.interop import lazy
from genjax.interop.lazy import LazyArray

Arrays = tuple[LazyArray, ...]


class Transform(Protocol):
    def to_ours(self, arrays: Arrays) -> Arrays: ...

    def to_theirs(self, arrays: Arrays) -> Arrays: ...


@dataclass(frozen=True)
class Identity:
    """The same layout on both sides: norms, biases, embeddings."""

    def to_ours(self, arrays: Arrays) -> Arrays:
        return arrays

    def to_theirs(self, arrays: Arrays) -> Arrays:
        return arrays


@dataclass(frozen=True)
class Transpose:
    """Our axis i is their axis `axes[i]`.

    (1, 0) takes a torch Linear (out, in) to (in, out); (2, 3, 1, 0) a Conv2d (out, in, height, width) to HWIO.
    """

    axes: tuple[int, ...] = (1, 0)

    def to_ours(self, arrays: Arrays) -> Arrays:
        return tuple(lazy.permute(a, self.axes) for a in arrays)

    def to_theirs(self, arrays: Arrays) -> Arrays:
        inverse = tuple(sorted(range(len(self.axes)), key=self.axes.__getitem__))
        return tuple(lazy.permute(a, inverse) for a in arrays)


@dataclass(frozen=True)
class Split:
    """Their `axis` is our several axes of `sizes` (one may be -1): heads * head width becomes (heads, head width)."""

    axis: int
    sizes: tuple[int, ...]

    def to_ours(self, arrays: Arrays) -> Arrays:
        return tuple(lazy.split_axis(a, self.axis, self.sizes) for a in arrays)

    def to_theirs(self, arrays: Arrays) -> Arrays:
        return tuple(lazy.merge_axes(a, self.axis, len(self.sizes)) for a in arrays)


@dataclass(frozen=True)
class Merge:
    """Their axes of `sizes` from `axis` on are our one axis: (1, features) becomes (features)."""

    axis: int
    sizes: tuple[int, ...]

    def to_ours(self, arrays: Arrays) -> Arrays:
        return Split(self.axis, self.sizes).to_theirs(arrays)

    def to_theirs(self, arrays: Arrays) -> Arrays:
        return Split(self.axis, self.sizes).to_ours(arrays)


@dataclass(frozen=True)
class Fused:
    """One of their tensors holds several of ours side by side along `axis`, `sizes` wide each."""

    axis: int
    sizes: tuple[int, ...]

    def to_ours(self, arrays: Arrays) -> Arrays:
        (fused,) = arrays
        starts = [sum(self.sizes[:i]) for i in range(len(self.sizes))]
        return tuple(lazy.part(fused, self.axis, start, size) for start, size in zip(starts, self.sizes, strict=True))

    def to_theirs(self, arrays: Arrays) -> Arrays:
        return (lazy.concatenate(arrays, self.axis),)


@dataclass(frozen=True)
class Chain:
    """Steps in the order from theirs to ours. After a `Fused`, each further step acts on every part."""

    steps: tuple[Transform, ...]

    def to_ours(self, arrays: Arrays) -> Arrays:
        for step in self.steps:
            arrays = step.to_ours(arrays)
        return arrays

    def to_theirs(self, arrays: Arrays) -> Arrays:
        for step in reversed(self.steps):
            arrays = step.to_theirs(arrays)
        return arrays
