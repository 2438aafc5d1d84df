"""What scene a picture shows: the objects in it, each with its color, shape and size, and where they lie.

The inverse of `shape_pictures`, made for pictures that a model drew: what is a little blurred, noisy, bent or off color is
read as long as it is clear, and an attribute that is not clear stays UNKNOWN.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from scipy import ndimage

from genjax.data.sources.shape_pictures import ABOVE, AREAS, DIRECTIONS, PALETTE, RADII, WHITE, coverage
from genjax.data.sources.shapes import MOST, PLACES, SHAPES, UNKNOWN, WIDTH, Labels, attributes, groups_in, swapped

INKS = WHITE - PALETTE.astype(np.float32)
DARK = 100  # an object's pixels are darker than the ground by so much in one channel
SPECK = 0.2  # of the area of the smallest object; what is smaller is no object
TOUCHING = np.array([np.zeros((3, 3)), [(0, 1, 0), (1, 1, 1), (0, 1, 0)], np.zeros((3, 3))])  # pixels, within one image
SLIGHT_BLUR = (0.3, 0.4, 0.3)  # across and down
# When an attribute is told. A misfit is the share of an object's energy that a drawn shape does not explain.
WORST_FIT, CLEARER_FIT = 0.05, 0.95  # the least misfit at most, in all and as a share of the next shape's
TURNED_FIT = 0.3  # the misfit of a turned shape at least, as a share of the least one
MUCH_BETTER = 3  # the factor between the misfits of an object in two inks
MOST_UNEVEN = 0.1  # the misfit of the best shape in one color, at most
FARTHEST_COLOR, CLEARER_COLOR = 65, 0.8  # the distance to the nearest color at most, in all and as a share of the next one's
OTHER_SIZE = 1.2  # the factor between an object's radius and the one that it should have, at most
OFF_MIDDLE, LEANING = 0.08, 0.02  # from where on a group is aside, and by how much more than across it, in widths of the image
Images = UInt8[np.ndarray, "batch size size 3"]


def read(images: Images, num_groups: int) -> Labels:
    """What scenes of one or two groups the pictures show, UNKNOWN where a picture does not tell.

    An attribute of a group is one that all its objects have. Two groups are told apart by color and shape, or by one of the two
    where the other is not clear; which of them comes first is without meaning.
    """
    objects = find_objects(images, num_groups)
    order = np.argsort(objects.image, kind="stable")
    starts = np.searchsorted(objects.image[order], np.arange(1, len(images)))
    labels = np.full((len(images), len(attributes(num_groups))), UNKNOWN, np.int32)
    for label, found in zip(labels, np.split(order, starts), strict=True):
        groups = [found] if num_groups == 1 else _told_apart(objects, found)
        for g, group in enumerate(groups):
            label[WIDTH * g : WIDTH * (g + 1)] = _common(objects, group)
        if len(found) and len(groups) == num_groups:
            centers = [objects.center[group].mean(0) for group in groups]
            label[-1] = _where(centers[0] - 0.5) if num_groups == 1 else _lies(centers[0] - centers[1])
    return labels


def matches(asked: Labels, found: Labels) -> Bool[np.ndarray, "scenes attributes"]:
    """Which attributes are found as asked; one that was left open (UNKNOWN) is. Two groups may be found in any order."""
    return (asked == in_order_of(asked, found)) | (asked == UNKNOWN)


def in_order_of(asked: Labels, found: Labels) -> Labels:
    """What was found; two groups in the order in which more of them is as asked."""
    if groups_in(asked) == 1:
        return found
    other = swapped(found)
    right, right_of_other = (((asked == labels) | (asked == UNKNOWN)).sum(1) for labels in (found, other))
    return np.where((right_of_other > right)[:, None], other, found)


def score(asked: Labels, images: Images) -> dict[str, float]:
    """How well pictures show what was asked, in shares from 0 to 1.

    Of each attribute, by its name, the share of the pictures that have it right, of those where it was asked; `overall`, the same
    for all attributes together; `whole`, the share of the pictures that have everything right.
    """
    right, counts = matches(asked, read(images, groups_in(asked))), asked != UNKNOWN
    names = [name for name, _ in attributes(groups_in(asked))]
    shares = {name: float(right[counts[:, i], i].mean()) for i, name in enumerate(names) if counts[:, i].any()}
    return shares | {"overall": float(right[counts].mean()), "whole": float(right.all(1).mean())}


@dataclass(frozen=True, eq=False)
class Objects:
    """The objects of a batch of pictures, in no order.

    Attributes:
        image: which picture it is in.
        center: across and down, in widths of the image.
        color, shape, size: numbers of their values, or UNKNOWN.
    """

    image: Int[np.ndarray, " objects"]
    center: Float[np.ndarray, "objects 2"]
    color: Int[np.ndarray, " objects"]
    shape: Int[np.ndarray, " objects"]
    size: Int[np.ndarray, " objects"]


def find_objects(images: Images, num_groups: int) -> Objects:
    """Every object of the pictures, which are of scenes of so many groups (it decides what is small and large)."""
    size, radii = images.shape[1], images.shape[1] * RADII[num_groups]
    ground = np.median(images, axis=(1, 2), keepdims=True).astype(np.float32)
    ink = np.maximum(ground - images, 0)
    windows = _windows(ink, SPECK * AREAS.min() * radii[0] ** 2, int(np.ceil(1.2 * ABOVE.max() * radii[1])) + 1)
    # An object's ink is that of the color whose direction it has, or, if that is off, its mean where there is most of it.
    amount = np.where(windows.own, np.linalg.norm(windows.ink, axis=3), 0)
    total = np.einsum("nhw,nhwc->nc", windows.own.astype(np.float32), windows.ink)
    likely = INKS[(total @ (INKS / np.linalg.norm(INKS, axis=1, keepdims=True)).T).argmax(1)]
    mean = np.einsum("nhw,nhwc->nc", amount, windows.ink) / np.maximum(amount.sum((1, 2)), 1)[:, None]
    fit = _better(_fit(windows, likely), _fit(windows, mean))
    shape = _nearest(fit.misfits, WORST_FIT, CLEARER_FIT)
    shape = np.where(fit.turned < TURNED_FIT * fit.misfits.min(1), UNKNOWN, shape)
    colors = np.linalg.norm((ground[windows.image, 0, 0] - fit.ink)[:, None] - PALETTE, axis=-1)
    color = np.where(fit.uneven > MOST_UNEVEN, UNKNOWN, _nearest(colors, FARTHEST_COLOR, CLEARER_COLOR))
    which = _nearest(np.abs(np.log(fit.radius[:, None] / radii)), np.log(OTHER_SIZE), 1)
    return Objects(windows.image, (windows.middle + 0.5 + fit.center) / size, color, shape, which)


@dataclass(frozen=True, eq=False)
class Windows:
    """A square of pixels around each object.

    Attributes:
        image, middle: which picture it is from, and its middle pixel there (across, down).
        steps: its columns, as its rows, from the middle.
        ink: how much darker its pixels are than the ground.
        own: the object's pixels, and those of the ground that touch them.
        near: these, and those of the ground that touch them.
    """

    image: Int[np.ndarray, " objects"]
    middle: Int[np.ndarray, "objects 2"]
    steps: Float[np.ndarray, " steps"]
    ink: Float[np.ndarray, "objects steps steps 3"]
    own: Bool[np.ndarray, "objects steps steps"]
    near: Bool[np.ndarray, "objects steps steps"]


def _windows(ink: Float[np.ndarray, "batch size size 3"], smallest: float, half: int) -> Windows:
    """A window of `half` pixels to each side of every object of at least `smallest` pixels."""
    numbers, count = ndimage.label(ink.max(-1) >= DARK, TOUCHING)
    kept = np.bincount(numbers.ravel(), minlength=count + 1) >= smallest
    kept[0] = False
    numbers = np.where(kept, np.cumsum(kept), 0)[numbers]
    pixels = np.nonzero(numbers)
    of = numbers[pixels] - 1
    image, down, across = (np.rint(np.bincount(of, place) / np.bincount(of)).astype(int) for place in pixels)
    steps = np.arange(-half, half + 1)
    index = (image[:, None, None], (half + down)[:, None, None] + steps[:, None], (half + across)[:, None, None] + steps)
    margin = ((0, 0), (half, half), (half, half))
    grown = _grown(numbers)
    own, near = (np.pad(whose, margin)[index] == np.arange(1, len(image) + 1)[:, None, None] for whose in (grown, _grown(grown)))
    ink = np.pad(ink, (*margin, (0, 0)))[index]
    return Windows(image, np.stack([across, down], 1), steps.astype(np.float32), ink, own, near)


def _grown(numbers: Int[np.ndarray, "batch size size"]) -> Int[np.ndarray, "batch size size"]:
    """Objects with the pixels of the ground that touch them, across, down or diagonally."""
    return np.where(numbers, numbers, ndimage.maximum_filter(numbers, (1, 3, 3)))


@dataclass(frozen=True, eq=False)
class Fit:
    """How objects compare with drawn shapes. Lengths are in pixels.

    Attributes:
        misfits: of each shape, the share of the object's energy that it does not explain.
        turned: the least of these shares for shapes that are turned, such as a square on its corner.
        ink, radius: of the shape that explains most.
        uneven: the share that this shape in this one ink does not explain.
        center: of the object's area, from its window's middle (across, down).
    """

    misfits: Float[np.ndarray, "objects shapes"]
    turned: Float[np.ndarray, " objects"]
    ink: Float[np.ndarray, "objects 3"]
    radius: Float[np.ndarray, " objects"]
    uneven: Float[np.ndarray, " objects"]
    center: Float[np.ndarray, "objects 2"]


def _fit(windows: Windows, likely: Float[np.ndarray, "objects 3"]) -> Fit:
    """Draws every shape, sharp and a little blurred, where the object is and of its area, if its ink is the likely one."""
    # What is no shape at all, such as a frame, may leave nothing to divide by: hence the least values.
    steps, share = windows.steps, likely / np.maximum((likely**2).sum(1, keepdims=True), 1)
    covered = np.where(windows.own, np.einsum("nhwc,nc->nhw", windows.ink, share), 0)
    area = np.maximum(covered.sum((1, 2)), 1)
    center = np.stack([covered.sum(1) @ steps, covered.sum(2) @ steps], 1) / area[:, None]
    x, y = np.broadcast_arrays(steps - center[:, 0, None, None], steps[:, None] - center[:, 1, None, None])
    radii = np.sqrt(area[:, None] / AREAS).astype(np.float32)
    half_turn = (x + y) * np.float32(np.sqrt(0.5)), (x - y) * np.float32(np.sqrt(0.5))
    turned = (SHAPES.index("square"), *half_turn), (SHAPES.index("cross"), *half_turn), (SHAPES.index("triangle"), x, -y)
    views = (*((shape, x, y) for shape in range(len(SHAPES))), *turned)
    sharp = np.stack([coverage(shape, x, y, radii[:, shape, None, None]) for shape, x, y in views], 1)
    # Objects and shapes are compared after a blur, which takes away most of the noise and little of the difference.
    once = _blurred(np.where(windows.near[:, None], sharp, 0))
    drawn = np.stack([once, _blurred(once)], 2).reshape(len(area), 2 * len(views), len(steps) ** 2)
    ink = np.where(windows.near[:, None], np.moveaxis(windows.ink, 3, 1), 0)
    ink = _blurred(ink).reshape(len(area), 3, len(steps) ** 2)
    squares, products = np.maximum((drawn**2).sum(2), 1e-3), np.einsum("nsp,ncp->nsc", drawn, ink)
    energy = np.maximum((np.einsum("ncp,nc->np", ink, share) ** 2).sum(1), 1e-3)
    misfits = 1 - np.einsum("nsc,nc->ns", products, share) ** 2 / (squares * energy[:, None])
    each, best = np.arange(len(area)), misfits[:, : 2 * len(SHAPES)].argmin(1)
    closest = products[each, best] / squares[each, best, None]
    uneven = 1 - (closest**2).sum(1) * squares[each, best] / np.maximum((ink**2).sum((1, 2)), 1e-3)
    upright, others = np.split(misfits, [2 * len(SHAPES)], axis=1)
    upright = upright.reshape(-1, len(SHAPES), 2).min(2)
    return Fit(upright, others.min(1), closest, radii[each, best // 2], uneven, center)


def _better(one: Fit, other: Fit) -> Fit:
    """Of each object, the first fit, or the other where that explains it much better."""
    first = one.misfits.min(1) <= MUCH_BETTER * other.misfits.min(1)
    pairs = zip(vars(one).values(), vars(other).values(), strict=True)
    return Fit(*(np.where(first.reshape(-1, *(1,) * (a.ndim - 1)), a, b) for a, b in pairs))


def _blurred(pixels: Float[np.ndarray, "*any steps steps"]) -> Float[np.ndarray, "*any steps steps"]:
    for axis in (-2, -1):
        pixels = ndimage.convolve1d(pixels, SLIGHT_BLUR, axis, mode="constant")
    return pixels


def _nearest(distances: Float[np.ndarray, "objects values"], most: float, clearer: float) -> Int[np.ndarray, " objects"]:
    """The value at the least distance; UNKNOWN where that is above `most`, or above the share `clearer` of the next one's."""
    least, second = np.partition(distances, 1, axis=1)[:, :2].T
    return np.where((least <= most) & (least <= clearer * second), distances.argmin(1), UNKNOWN)


def _told_apart(objects: Objects, found: Int[np.ndarray, " of_picture"]) -> list[Int[np.ndarray, " of_group"]]:
    """The objects of a picture as two groups; as one if they are all alike; as none if they are of more kinds."""
    color, shape = objects.color[found], objects.shape[found]
    both = np.where((color == UNKNOWN) | (shape == UNKNOWN), UNKNOWN, color * len(SHAPES) + shape)
    for kind in (both, color, shape):
        kinds = np.unique(kind)
        if len(kinds) == 2 and UNKNOWN not in kinds:
            return [found[kind == value] for value in kinds]
    return [found] if len(np.unique(both)) == 1 else []


def _common(objects: Objects, group: Int[np.ndarray, " of_group"]) -> list[int]:
    """The four labels of a group."""
    found = [np.unique(values[group]) for values in (objects.color, objects.shape, objects.size)]
    color, shape, size = (int(values[0]) if len(values) == 1 else UNKNOWN for values in found)
    return [color, shape, len(group) - 1 if 1 <= len(group) <= MOST else UNKNOWN, size]


def _where(offset: Float[np.ndarray, "2"]) -> int:
    """The place of a group that is so far from the image's middle."""
    return PLACES.index("middle") if np.abs(offset).max() < OFF_MIDDLE else _lies(offset)


def _lies(offset: Float[np.ndarray, "2"]) -> int:
    """On which side: the number in DIRECTIONS."""
    across, down = np.abs(offset)
    clear = max(across, down) >= OFF_MIDDLE and abs(across - down) >= LEANING
    return int((DIRECTIONS @ offset).argmax()) if clear else UNKNOWN
