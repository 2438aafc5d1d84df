"""Scenes of colored shapes: their attributes as words and as a vector of labels.

A scene is one group of equal objects at a place, or two groups and how they lie to each other. `shape_captions` says scenes and
understands what is said, `shape_pictures` draws them, `shape_reader` finds them in pictures: how well a picture fits its caption
is counted, not estimated.
"""

from collections.abc import Sequence
from dataclasses import astuple, dataclass

import numpy as np
from jaxtyping import Int

COLORS = ("red", "green", "blue", "yellow", "purple", "black")
SHAPES = ("circle", "square", "triangle", "cross")
COUNTS = ("one", "two", "three")
SIZES = ("small", "large")
PLACES = ("left", "right", "top", "bottom", "middle")
RELATIONS = ("left of", "right of", "above", "below")
OF_GROUP = (("color", COLORS), ("shape", SHAPES), ("count", COUNTS), ("size", SIZES))
COLOR, SHAPE, COUNT, SIZE = range(4)  # columns of a group in a label
WIDTH = len(OF_GROUP)  # columns that a group has
MOST = len(COUNTS)  # objects that a group has
UNKNOWN = -1  # the label of what a caption leaves open, and of what a picture does not tell


@dataclass(frozen=True)
class Group:
    """Equal objects. None: a caption leaves it open, or a picture does not tell."""

    color: str | None
    shape: str | None
    count: str | None
    size: str | None


@dataclass(frozen=True)
class Scene:
    """One group or two of them.

    Attributes:
        where: the place of one group; of two, how the first lies to the second. None as in `Group`.
    """

    groups: tuple[Group, ...]
    where: str | None


Labels = Int[np.ndarray, "scenes attributes"]  # the number of each attribute's value, or UNKNOWN


def attributes(num_groups: int) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Names and values of the columns of a label: four of each group, then the place or the relation."""
    if num_groups == 1:
        return (*OF_GROUP, ("place", PLACES))
    return (*((f"{which}_{name}", values) for which in ("first", "second") for name, values in OF_GROUP), ("relation", RELATIONS))


def groups_in(labels: Labels) -> int:
    """How many groups labels of so many columns have: 1 or 2."""
    return labels.shape[1] // WIDTH


def label_of(scene: Scene) -> list[int]:
    """The scene as a row of labels."""
    words = (*(word for group in scene.groups for word in astuple(group)), scene.where)
    columns = attributes(len(scene.groups))
    return [UNKNOWN if word is None else values.index(word) for word, (_, values) in zip(words, columns, strict=True)]


def scene_of(label: Sequence[int]) -> Scene:
    """What a row of labels says."""
    num_groups = len(label) // WIDTH
    columns = attributes(num_groups)
    words = [None if number == UNKNOWN else values[number] for number, (_, values) in zip(label, columns, strict=True)]
    return Scene(tuple(Group(*words[WIDTH * g : WIDTH * (g + 1)]) for g in range(num_groups)), words[-1])


def combinations(num_groups: int) -> Labels:
    """Every scene there is. Two groups differ in color or shape: of equal ones nobody could tell which is which."""
    sizes = [len(values) for _, values in attributes(num_groups)]
    labels = np.indices(sizes, np.int32).reshape(len(sizes), -1).T
    return labels if num_groups == 1 else labels[(labels[:, :COUNT] != labels[:, WIDTH : WIDTH + COUNT]).any(1)]


def swapped(labels: Labels) -> Labels:
    """The same scenes of two groups, said from the other group: 'A left of B' becomes 'B right of A'."""
    opposite = np.array([1, 0, 3, 2, UNKNOWN], np.int32)  # of RELATIONS; the last stands for UNKNOWN
    return np.concatenate([labels[:, WIDTH:-1], labels[:, :WIDTH], opposite[labels[:, -1:]]], axis=1)


def names_of(labels: Labels) -> list[str]:
    """A name of each scene; scenes of two groups that are one, said from either group, have one name."""
    columns = attributes(groups_in(labels))
    if groups_in(labels) == 2:
        backwards = np.isin(labels[:, -1:], (RELATIONS.index("right of"), RELATIONS.index("below")))
        labels = np.where(backwards, swapped(labels), labels)
    words = ([values[i] for i in numbers] for numbers, (_, values) in zip(labels.T.tolist(), columns, strict=True))
    return [" ".join(row) for row in zip(*words, strict=True)]
