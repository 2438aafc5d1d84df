"""Scenes of shapes as pictures: where the objects lie, and their pixels. Lengths are in widths of the image unless said."""

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from genjax.data.draws import uniforms
from genjax.data.sources.shapes import COLOR, COUNT, MOST, SHAPE, SHAPES, SIZE, WIDTH, Labels, groups_in

# By color, at least 129 apart; their inks, which are white less them, point at least 16 degrees apart.
PALETTE = np.array([(225, 30, 35), (20, 150, 60), (35, 70, 225), (250, 195, 20), (165, 45, 195), (25, 25, 25)], np.uint8)
WHITE = 255
SMALLEST_IMAGE = {1: 32, 2: 64}  # pixels, by the number of groups; below, the arms of a small cross are less than 2 pixels wide

# Of the small and the large, by the number of groups. Shapes of one radius look of one size.
RADII = {1: np.array([0.088, 0.131]), 2: np.array([0.056, 0.084])}
# Of a radius of 1, from the center of a shape's area.
HALF_SQUARE, INRADIUS, HALF_CROSS, HALF_ARM = 0.9, 0.68, 1.06, 0.36
HALF_WIDTHS = np.array([1, HALF_SQUARE, np.sqrt(3) * INRADIUS, HALF_CROSS])
ABOVE = np.array([1, HALF_SQUARE, 2 * INRADIUS, HALF_CROSS])
BELOW = np.array([1, HALF_SQUARE, INRADIUS, HALF_CROSS])
AREAS = np.array([np.pi, 4 * HALF_SQUARE**2, 3 * np.sqrt(3) * INRADIUS**2, 8 * HALF_CROSS * HALF_ARM - 4 * HALF_ARM**2])

BORDER = 0.035  # at the least, between an object and the image's edge
GAP = 0.75  # at the least, between two objects across or down, in small radii
# By place or relation, which way (across, down) a group's center, the mean of its objects' centers, lies from the image's, or the
# first group's from the second's. It is ASIDE that way at the least, and FURTHER that way than across it, by the count of a group
# (more leave less room) or as one object for a relation. In the middle, it is at most MIDDLE away, across and down.
DIRECTIONS = np.array([(-1, 0), (1, 0), (0, -1), (0, 1), (0, 0)])
ASIDE, FURTHER, MIDDLE = np.array([0.2, 0.16, 0.11]), np.array([0.1, 0.08, 0.05]), 0.05
SPLIT = 0.1  # how far from the image's middle the line between two groups may lie
LINES = 3  # of a triangle, in a pixel
STREAM = 0x736870
TRIES, ROUNDS = 64, 400  # layouts drawn at once, and how often; of three large triangles at the top, one in 300 will do

Centers = Float[np.ndarray, "batch groups objects 2"]  # across and down; MOST objects of each group


def draw(labels: Labels, image_size: int, seed: int, rows: Int[np.ndarray, " batch"]) -> UInt8[np.ndarray, "batch size size 3"]:
    """Picture number `rows[j]` of those that the seed gives scene `labels[j]`: a pure function."""
    return paint(labels, centers_of(labels, seed, rows), image_size)


def centers_of(labels: Labels, seed: int, rows: Int[np.ndarray, " batch"]) -> Centers:
    """Where the objects lie: at random, apart from each other, clearly where the scene says. Objects beyond a count lie anywhere.

    A pure function of a row's scene, its number and the seed: layouts are drawn until one will do.
    """
    num_groups = groups_in(labels)
    centers = np.zeros((len(labels), num_groups, MOST, 2))
    pending = np.arange(len(labels))
    pairs = num_groups * MOST + 1  # of numbers for a layout
    for attempt in range(ROUNDS):
        numbers = uniforms(seed, STREAM, np.full(len(pending), attempt), rows[pending], TRIES * pairs * 2)
        layouts, good = _layouts(labels[pending], numbers.reshape(len(pending), TRIES, pairs, 2))
        found = good.any(1)
        centers[pending[found]] = layouts[found, good[found].argmax(1)]
        pending = pending[~found]
        if not len(pending):
            return centers
    raise AssertionError(f"no layout for the scene {labels[pending[0]].tolist()}")


def paint(labels: Labels, centers: Centers, image_size: int) -> UInt8[np.ndarray, "batch {image_size} {image_size} 3"]:
    """The pictures, anti-aliased, on white, of any size; see SMALLEST_IMAGE. The labels have no UNKNOWN."""
    num_groups, groups = groups_in(labels), _groups(labels)
    radii = (image_size * RADII[num_groups][groups[..., SIZE]]).astype(np.float32)
    x, y = (image_size * centers.astype(np.float32)).transpose(3, 0, 1, 2)
    pixels = np.arange(image_size, dtype=np.float32) + np.float32(0.5)
    covered = np.zeros((len(labels), num_groups, image_size, image_size), np.float32)
    for g, i, shape in np.ndindex(num_groups, MOST, len(SHAPES)):
        of = np.flatnonzero((groups[:, g, COUNT] >= i) & (groups[:, g, SHAPE] == shape))
        across, down = pixels - x[of, g, i, None], pixels - y[of, g, i, None]
        covered[of, g] += coverage(shape, across[:, None, :], down[:, :, None], radii[of, g, None, None])
    ink = WHITE - PALETTE[groups[..., COLOR]].astype(np.float32)
    return np.rint(WHITE - np.einsum("bghw,bgc->bhwc", covered, ink)).astype(np.uint8)


def coverage(
    shape: int, across: Float[np.ndarray, "*pixels"], down: Float[np.ndarray, "*pixels"], radius: Float[np.ndarray, "*pixels"]
) -> Float[np.ndarray, "*pixels"]:
    """The share of each pixel that a shape covers: of a square and a cross exactly, of a triangle to 0.01, of a circle to 0.06.

    Args:
        shape: its number in SHAPES.
        across, down: from the center of the shape's area to the pixel's, in pixels; the three broadcast with each other.
        radius: in pixels; at least 1.4, for which the arms of a cross are a pixel wide.
    """
    if SHAPES[shape] == "circle":
        return _span(np.sqrt(across**2 + down**2), radius)
    if SHAPES[shape] == "square":
        return _span(across, HALF_SQUARE * radius) * _span(down, HALF_SQUARE * radius)
    if SHAPES[shape] == "cross":
        (wide, narrow), (tall, flat) = ([_span(of, half * radius) for half in (HALF_CROSS, HALF_ARM)] for of in (across, down))
        return wide * flat + narrow * tall - narrow * flat
    # A triangle by the middles of LINES slices of that part of a pixel that lies between its tip and its base.
    tip, base = -2 * INRADIUS * radius, INRADIUS * radius
    first = np.clip(down - 0.5, tip, base)
    height = np.clip(down + 0.5, tip, base) - first
    lines = 0
    for i in range(LINES):
        half = (first + (i + 0.5) / LINES * height - tip) * np.float32(np.sqrt(1 / 3))
        lines = lines + np.clip(np.minimum(across + 0.5, half) - np.maximum(across - 0.5, -half), 0, 1)
    return lines / LINES * height


def _span(offset: Float[np.ndarray, "*pixels"], half: Float[np.ndarray, "*pixels"]) -> Float[np.ndarray, "*pixels"]:
    """The share of a pixel, so far from the middle of an interval, that lies in it."""
    return np.clip(half + 0.5 - np.abs(offset), 0, 1)


def _groups(labels: Labels) -> Int[np.ndarray, "scenes groups 4"]:
    num_groups = groups_in(labels)
    return labels[:, : WIDTH * num_groups].reshape(len(labels), num_groups, WIDTH)


def _layouts(
    labels: Labels, numbers: Float[np.ndarray, "batch tries pairs 2"]
) -> tuple[Float[np.ndarray, "batch tries groups objects 2"], Bool[np.ndarray, "batch tries"]]:
    """Numbers in [0, 1) as centers of objects, and which of these layouts will do. The last pair is for all objects together."""
    # All arrays: batch, tries, groups, objects, (across, down).
    num_groups, groups = groups_in(labels), _groups(labels)
    drawn, extra = numbers[:, :, :-1].reshape(*numbers.shape[:2], num_groups, MOST, 2), numbers[:, :, None, None, -1]
    present = (groups[..., COUNT, None] >= np.arange(MOST))[:, None, ..., None]
    shapes, radii = groups[..., SHAPE], RADII[num_groups][groups[..., SIZE]]
    before, after = (
        (radii[..., None] * np.stack([HALF_WIDTHS[shapes], reach[shapes]], -1))[:, None, :, None] for reach in (ABOVE, BELOW)
    )
    low, high, gap = BORDER + before, 1 - BORDER - after, GAP * RADII[num_groups][0]
    way = DIRECTIONS[labels[:, -1]][:, None, None, None]
    if num_groups == 2:  # each has the image on its side of a line
        ways = way * np.array([1, -1])[:, None, None]
        line = 0.5 + SPLIT * (2 * extra[..., :1] - 1)
        high = np.where(ways < 0, line - gap / 2 - after, high)
        low = np.where(ways > 0, line + gap / 2 + before, low)
    centers = low + (high - low) * drawn
    if num_groups == 1:  # moved together, to the side that it belongs to or about the middle
        room = np.where(way < 0, centers - low, high - centers)
        room = np.where(present, room, np.inf).min(3, keepdims=True)
        aside = way * room * np.sqrt(extra[..., :1])
        middle = 0.5 + MIDDLE * (2 * extra - 1) - _mean(centers, present)
        centers = centers + np.where(way.any(-1, keepdims=True), aside, middle)
    within = (((centers >= low) & (centers <= high)) | ~present).all((2, 3, 4))
    return centers, within & _apart(centers, present, before + after + gap) & _placed(groups, centers, present, way)


def _mean(centers, present) -> Float[np.ndarray, "batch tries groups 1 2"]:
    return np.where(present, centers, 0).sum(3, keepdims=True) / present.sum(3, keepdims=True)


def _apart(centers, present, space) -> Bool[np.ndarray, "batch tries"]:
    """Whether any two objects of a group are so far apart, across or down. Those of two groups have a line between them."""
    apart = np.ones(centers.shape[:2], bool)
    for i in range(1, MOST):
        for j in range(i):
            far = (np.abs(centers[:, :, :, i] - centers[:, :, :, j]) >= space[:, :, :, 0]).any(-1)
            apart &= (far | ~present[:, :, :, i, 0]).all(-1)
    return apart


def _placed(groups, centers, present, way) -> Bool[np.ndarray, "batch tries"]:
    """Whether the groups' centers lie clearly as they should; see DIRECTIONS."""
    means = _mean(centers, present)
    offset = means[:, :, 0] - (means[:, :, 1] if means.shape[2] == 2 else 0.5)
    along = (offset * way[:, :, 0]).sum((2, 3))
    across = np.abs(offset * way[:, :, 0, :, ::-1]).sum((2, 3))
    middle = (np.abs(offset) <= MIDDLE).all((2, 3))
    count = groups[:, 0, COUNT] if groups.shape[1] == 1 else np.zeros(len(groups), int)
    clear = (along >= ASIDE[count, None]) & (along - across >= FURTHER[count, None])
    return np.where(way.any((2, 3, 4)), clear, middle)
