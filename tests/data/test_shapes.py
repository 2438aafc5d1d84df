"""Scenes of shapes: what is drawn lies as the scene says, captions say it and are understood, what is held out stays out."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.path import Path
from scipy import ndimage

from genjax import data
from genjax.data.hashing import digest
from genjax.data.sources.shape_captions import DRAWS, caption, parse
from genjax.data.sources.shape_pictures import AREAS, PALETTE, WHITE, coverage, draw
from genjax.data.sources.shapes import (
    COLORS,
    COUNTS,
    PLACES,
    RELATIONS,
    SHAPES,
    SIZES,
    Group,
    Scene,
    attributes,
    combinations,
    label_of,
    names_of,
    scene_of,
    swapped,
)
from genjax.errors import ConfigError, DataError

ONE, TWO = combinations(1), combinations(2)


def build(seed=0, **config):
    return data.build({"name": "shapes", "batch_size": 4} | config, seed=seed, cache_dir=None)


def some(labels, count, seed=0):
    return labels[np.random.default_rng(seed).integers(0, len(labels), count)]


def outline(shape, radius):
    """The shape by its corners, or a circle by very many of them."""
    if shape == "circle":
        turns = np.linspace(0, 2 * np.pi, 200)
        corners = np.stack([np.cos(turns), np.sin(turns)], 1)
    elif shape == "square":
        corners = np.array([(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)])
    elif shape == "triangle":
        corners = 0.68 * np.array([(0, -2), (3**0.5, 1), (-(3**0.5), 1)])
    else:
        quarter, turn = np.array([(0.36, -1.06), (0.36, -0.36), (1.06, -0.36)]), np.array([(0, 1), (-1, 0)])
        corners = np.concatenate([quarter @ np.linalg.matrix_power(turn, k) for k in range(4)])
    return Path(radius * corners)


@pytest.mark.parametrize(("shape", "exact"), [("circle", 0.07), ("square", 0.03), ("triangle", 0.03), ("cross", 0.03)])
@pytest.mark.parametrize("radius", [2.8, 4.2, 8.0])
def test_coverage_is_the_share_of_points_within_the_outline(shape, exact, radius):
    fine, size, (x, y) = 32, 22, (10.3, 11.6)
    points = (np.arange(fine * size) + 0.5) / fine
    points = np.stack(np.meshgrid(points - x, points - y), -1).reshape(-1, 2)
    near = np.abs(points).max(1) < 1.5 * radius
    within = np.zeros(len(points))
    within[near] = outline(shape, radius).contains_points(points[near])
    expected = within.reshape(size, fine, size, fine).mean((1, 3))
    pixels = np.arange(size) + 0.5
    found = coverage(SHAPES.index(shape), (pixels - x)[None], (pixels - y)[:, None], np.float64(radius))
    np.testing.assert_allclose(found, expected, atol=exact)  # one row of points more or less is 0.03
    assert found.sum() == pytest.approx(AREAS[SHAPES.index(shape)] * radius**2, rel=0.015)
    weights = found / found.sum()
    assert (weights.sum(0) @ pixels, weights.sum(1) @ pixels) == pytest.approx((x, y), abs=0.02)


@pytest.mark.parametrize("size", [32, 128])
def test_every_scene_of_one_group_is_drawn_as_it_says(size):
    """Pieces that do not touch, within the image, of one color; and their middle is where the scene says."""
    labels = ONE if size == 32 else some(ONE, 100)
    images = draw(labels, size, 5, np.arange(len(labels)))
    ink = np.abs(WHITE - images.astype(np.float64)).sum(-1)
    across, down = (np.arange(size) + 0.5) / size - 0.5, (np.arange(size)[:, None] + 0.5) / size - 0.5
    assert not ink[:, [0, -1]].any() and not ink[:, :, [0, -1]].any()
    for label, image, dark in zip(labels.tolist(), images, ink, strict=True):
        group, place = scene_of(label).groups[0], PLACES[label[-1]]
        pieces, count = ndimage.label(dark > 0, np.ones((3, 3)))
        assert count == 1 + COUNTS.index(group.count)
        assert (image == PALETTE[COLORS.index(group.color)]).all(-1).any()
        masses = ndimage.sum_labels(dark, pieces, range(1, count + 1))
        assert masses == pytest.approx(masses.mean(), rel=0.05)
        x, y = (across * dark).sum() / dark.sum(), (down * dark).sum() / dark.sum()
        if place == "middle":
            assert max(abs(x), abs(y)) < 0.06
        else:
            along, other = {"left": (-x, y), "right": (x, y), "top": (-y, x), "bottom": (y, x)}[place]
            assert along > 0.1 and along > abs(other) + 0.04


def test_two_groups_are_drawn_on_two_sides_of_a_line():
    labels = some(TWO[TWO[:, 0] != TWO[:, 4]], 300)
    images = draw(labels, 64, 5, np.arange(len(labels))).astype(np.int32)
    for label, image in zip(labels.tolist(), images, strict=True):
        relation = RELATIONS[label[-1]]
        spans = []
        for color in (label[0], label[4]):
            found = np.nonzero(np.abs(image - PALETTE[color]).max(-1) < 5)
            places = found[1] if relation in ("left of", "right of") else found[0]
            spans.append((places.min(), places.max()))
        first, second = spans if relation in ("left of", "above") else spans[::-1]
        assert first[1] < second[0]
        pieces = ndimage.label((image < 200).any(-1))[1]
        assert pieces == label[2] + label[6] + 2


def test_a_picture_is_a_pure_function_of_its_number():
    one, other, seeded = (build(seed=seed, num_images=40, image_size=32).train for seed in (1, 1, 2))
    for k in (13, 0, 4):
        parts = [one.batch(k, process_index=i, process_count=2) for i in range(2)]
        for name, values in other.batch(k).items():
            np.testing.assert_array_equal(values, np.concatenate([part[name] for part in parts]))
    assert one.fingerprint == other.fingerprint != seeded.fingerprint
    # The seed of a run and the epoch change the order of the pictures, not the pictures.
    parts = (one, range(10)), (one, range(10, 20)), (seeded, range(10))
    epochs = [{image.tobytes() for k in batches for image in part.batch(k)["image"]} for part, batches in parts]
    assert epochs[0] == epochs[1] == epochs[2] and len(epochs[0]) == 40
    assert not np.array_equal(one.batch(0)["image"], seeded.batch(0)["image"])


@pytest.mark.parametrize(("num_groups", "size", "expected"), [(1, 32, "9d5fde47d4ba5257"), (2, 64, "03114301a1b4f0e3")])
def test_the_same_pictures_on_every_machine_and_in_every_version(num_groups, size, expected):
    """Where this is to change, so does FORMAT of `genjax.data.shapes`."""
    rows = build(num_groups=num_groups, image_size=size).train.batches.rows.fetch(np.zeros(64, int), np.arange(64))
    assert digest(rows["image"].tobytes(), rows["label"].astype("<i4").tobytes()) == expected


@pytest.mark.parametrize("num_groups", [1, 2])
def test_held_out_combinations_are_in_no_row_of_training(num_groups):
    sets = build(num_groups=num_groups, image_size=64, held_out=0.2)
    train, evaluation = (part.batches.rows for part in (sets.train, sets.evaluation))
    sides = [set(names_of(rows.combinations)) for rows in (train, evaluation)]
    assert not sides[0] & sides[1]
    assert 0.15 < len(evaluation.combinations) / len(combinations(num_groups)) < 0.25
    for rows, side in zip((train, evaluation), sides, strict=True):
        assert set(names_of(rows.labels(np.arange(500)))) <= side
    for column, (_, values) in enumerate(attributes(num_groups)):  # every value is seen in training, if not every combination
        assert set(train.combinations[:, column].tolist()) == set(range(len(values)))


def test_evaluation_may_show_combinations_of_training_in_other_pictures():
    sets = build(evaluation="seen", evaluation_images=10, image_size=40)
    rows = [part.batches.rows for part in (sets.train, sets.evaluation)]
    assert names_of(rows[0].combinations) == names_of(rows[1].combinations)
    pictures = [rows.fetch(np.zeros(10, int), np.arange(10)) for rows in rows]
    assert not np.array_equal(pictures[0]["image"], pictures[1]["image"])
    last = sets.evaluation.batch(2)
    assert last["mask"].tolist() == [1, 1, 0, 0] and last["image"].shape == (4, 40, 40, 3) and not last["image"][2:].any()
    assert build(evaluation_images=0).evaluation is None


def test_scenes_said_from_either_group_have_one_name():
    assert len(set(names_of(TWO))) == len(TWO) / 2
    assert names_of(swapped(TWO)) == names_of(TWO)
    label = label_of(parse("two small red circles below a large blue cross"))
    assert caption(scene_of(swapped(np.array([label]))[0].tolist())) == "a large blue cross above two small red circles"


def test_every_scene_of_one_group_is_said_and_understood_in_every_way():
    words = itertools.cycle(itertools.product([0.0, 0.5], repeat=3))
    for label in ONE.tolist():
        scene = scene_of(label)
        assert label_of(scene) == label
        said = {caption(scene, [form, *next(words), 0.0]) for form in (0.0, 0.2, 0.4, 0.6, 0.8)}
        assert len(said) == 5 and {parse(text) for text in said} == {scene}


def left_open(values):
    return st.sampled_from((*values, None))


groups = st.builds(Group, left_open(COLORS), st.sampled_from(SHAPES), left_open(COUNTS), left_open(SIZES))
scenes = st.builds(Scene, st.tuples(groups), left_open(PLACES)) | st.builds(
    Scene, st.tuples(groups, groups), left_open(RELATIONS)
).filter(lambda scene: len({(group.color, group.shape) for group in scene.groups}) == 2)


@settings(max_examples=150, deadline=None)
@given(scene=scenes, draws=st.lists(st.floats(0, 1, exclude_max=True), min_size=DRAWS, max_size=DRAWS))
def test_captions_of_what_is_partly_left_open_are_understood(scene, draws):
    assert parse(caption(scene, draws).upper() + ".") == scene


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("A LARGE blue square", "a large blue square"),
        ("3 crosses", "three crosses"),
        ("on the right there are two big green triangles!", "two large green triangles at the right"),
        ("red circle", "a red circle"),
        ("red circles", "red circles"),
        ("two small red circles and a square", "two small red circles and a square"),
        ("a circle over a black circle", "a circle above a black circle"),
    ],
)
def test_captions_that_people_write(text, plain):
    assert caption(parse(text)) == plain


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("two purpel circles", "not understood from 'purpel' on; did you mean 'purple'"),
        ("an image", "not understood from 'image' on"),
        ("a small red zebra", "not understood from 'zebra' on; say it as 'two small red circles at the left'"),
        ("two red circles left", "not understood from 'left' on; say it as"),
        ("", "lacks a shape"),
        ("two small red ones", "not understood from 'ones' on; did you mean 'one'"),
        ("small red at the top", "lacks a shape .circle, square, triangle, cross."),
        ("a red blue square", "says 'red' and 'blue' of one group"),
        ("a red, red square", "says 'red' and 'red' of one group"),
        ("a circle a square", "says 'circle' and 'square', but not how they lie to each other .left of,"),
        ("a circle above a square below a cross", "says 'above' and 'below'; it can say one place of one group"),
        ("a circle at the left above a square", "says 'left' and 'above'"),
        ("a red circle left of two red circles", "two groups of one color and shape, which a picture could not tell apart"),
        ("above a circle", "lacks a shape"),
    ],
)
def test_what_is_not_understood_is_a_sentence(text, message):
    with pytest.raises(DataError, match=message):
        parse(text)


def test_rows_have_captions_that_say_their_labels():
    rows = build(num_groups=2, image_size=64).train.batches.rows
    numbers = np.arange(50)
    first, second = (rows.captions(np.full(50, epoch), numbers) for epoch in range(2))
    assert first != second and first == rows.captions(np.zeros(50, int), numbers)
    assert [label_of(parse(text)) for text in first] == rows.labels(numbers).tolist()
    assert rows.captions(np.zeros(2, int), np.array([7, 3])) == [first[7], first[3]]


def test_what_the_data_says_of_itself():
    config = {"name": "shapes", "image_size": 48, "num_images": 2000}
    info = build(**config).train.info
    assert info.attributes == (("color", COLORS), ("shape", SHAPES), ("count", COUNTS), ("size", SIZES), ("place", PLACES))
    assert str(info).startswith("2,000 pictures of shapes of 48x48 pixels, 6")
    described = data.describe(config | {"batch_size": 4})
    assert (described.attributes, described.height, described.channels) == (info.attributes, 48, 3)
    two = data.describe({"name": "shapes", "num_groups": 2, "image_size": 64})
    assert [name for name, _ in two.attributes][3:6] == ["first_size", "second_color", "second_shape"]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"image_size": 24}, "data.image_size is 24, .* data.num_groups is 1; use 32 or more"),
        ({"image_size": 32, "num_groups": 2}, "data.num_groups is 2; use 64 or more"),
        ({"num_groups": 3}, "num_groups"),
        ({"held_out": 1.0}, "data.held_out is 1.0; it must be at least 0 and below 1"),
        ({"held_out": 0.0}, "data.held_out is 0, which leaves nothing to evaluate; raise it, or set data.evaluation='seen'"),
        ({"num_images": 0}, "data.num_images is 0; it must be 1 or more"),
        ({"evaluation_images": -1}, "data.evaluation_images is -1; it must be 0 or more"),
        ({"num_image": 10}, "num_images"),
    ],
)
def test_settings_that_cannot_be(config, message):
    with pytest.raises(ConfigError, match=message):
        build(**config)
