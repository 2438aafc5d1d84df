"""Reading shapes from pictures: everything from what was drawn, also damaged a little; and not more than a picture shows."""

import numpy as np
import pytest
from scipy import ndimage

from genjax.data.sources.shape_captions import parse
from genjax.data.sources.shape_pictures import PALETTE, centers_of, draw, paint
from genjax.data.sources.shape_reader import find_objects, matches, read, score
from genjax.data.sources.shapes import COLORS, UNKNOWN, Group, attributes, combinations, label_of, scene_of, swapped


def some(num_groups, count, seed=0):
    labels = combinations(num_groups)
    return labels[np.random.default_rng(seed).integers(0, len(labels), count)]


def labels_of(*captions):
    return np.array([label_of(parse(text)) for text in captions], np.int32)


def drawn(text, size=None, row=0):
    label = labels_of(text)
    return draw(label, size or (32 if label.shape[1] == 5 else 64), 3, np.array([row]))


def noisy(images):
    """Normal noise of 0.1 where white is 1 and black -1."""
    noise = np.random.default_rng(0).normal(0, 0.1 * 127.5, images.shape)
    return np.clip(np.rint(images + noise), 0, 255).astype(np.uint8)


def blurred(images):
    return np.rint(ndimage.uniform_filter(images.astype(np.float64), (0, 3, 3, 0), mode="nearest")).astype(np.uint8)


def off_color(images):
    """Another shift of red, green and blue for each picture, the ground's too."""
    shift = np.random.default_rng(0).integers(-25, 26, (len(images), 1, 1, 3))
    return np.clip(images.astype(int) + shift, 0, 255).astype(np.uint8)


@pytest.mark.parametrize(("num_groups", "size", "count"), [(1, 32, 720), (1, 64, 200), (2, 64, 200), (2, 128, 20)])
@pytest.mark.parametrize("damage", [np.asarray, noisy, blurred, off_color], ids=["fresh", "noise", "blur", "colors"])
def test_everything_is_read_from_what_was_drawn(num_groups, size, count, damage):
    labels = combinations(1) if (num_groups, size) == (1, 32) else some(num_groups, count)
    images = damage(draw(labels, size, 9, np.arange(len(labels))))
    right = matches(labels, read(images, num_groups))
    assert right.all(), [scene_of(label) for label in labels[~right.all(1)].tolist()]


def test_objects_are_found_where_they_were_painted():
    labels = some(1, 200)
    centers = centers_of(labels, 1, np.arange(200))[:, 0]
    objects = find_objects(noisy(paint(labels, centers[:, None], 32)), 1)
    for i, label in enumerate(labels):
        expected = centers[i, : label[2] + 1]
        found = objects.center[objects.image == i]
        distances = np.linalg.norm(found[:, None] - expected, axis=-1)
        assert found.shape == expected.shape and distances.min(0).max() < 0.3 / 32


@pytest.mark.parametrize(
    ("asked", "shown", "wrong"),
    [
        ("two small red circles at the left", "two small purple circles at the left", {"color"}),
        ("two small red circles at the left", "two small red squares at the left", {"shape"}),
        ("two small red circles at the left", "three small red circles at the left", {"count"}),
        ("two small red circles at the left", "two large red circles at the left", {"size"}),
        ("two small red circles at the left", "two small red circles in the middle", {"place"}),
        ("two small red circles at the left", "a large blue cross at the top", {"color", "shape", "count", "size", "place"}),
        ("a red circle left of a blue square", "a small red circle right of a small blue square", {"relation"}),
        ("a red circle left of a blue square", "a small red circle above a large blue square", {"relation"}),
        ("a red circle left of a blue square", "a small blue square right of a small red circle", set()),
        ("a red circle left of a blue square", "a small red circle left of a small green square", {"second_color"}),
        ("a red circle left of a blue square", "three small blue squares right of a large red circle", {"second_count"}),
        ("red circles", "three large red circles at the top", set()),
    ],
)
def test_what_is_not_as_asked_is_wrong_and_the_rest_is_right(asked, shown, wrong):
    asked = labels_of(asked)
    right = matches(asked, read(drawn(shown), len(asked[0]) // 4))[0]
    assert {name for (name, _), ok in zip(attributes(len(asked[0]) // 4), right, strict=True) if not ok} == wrong


def test_every_other_value_of_one_attribute_is_told_from_the_one_asked():
    labels = some(1, 150, seed=4)
    found = read(draw(labels, 32, 2, np.arange(150)), 1)
    for column, (_, values) in enumerate(attributes(1)):
        for other in range(1, len(values)):
            asked = labels.copy()
            asked[:, column] = (labels[:, column] + other) % len(values)
            right = matches(asked, found)
            assert not right[:, column].any() and np.delete(right, column, 1).all()


x, y = np.arange(64) + 0.5, np.arange(64)[:, None] + 0.5
RED, GREEN, BLUE, BLACK = (tuple(PALETTE[COLORS.index(color)].tolist()) for color in ("red", "green", "blue", "black"))
DISC = (x - 20) ** 2 + (y - 30) ** 2 < 8.4**2


def picture(*parts):
    """White with parts of it (mask, color) filled, one after the other."""
    image = np.full((64, 64, 3), 255, np.uint8)
    for mask, color in parts:
        image[np.broadcast_to(mask, (64, 64))] = color
    return image


@pytest.mark.parametrize(
    ("image", "color", "shape", "count", "size"),
    [
        pytest.param(picture(), None, None, None, None, id="white"),
        pytest.param(picture((DISC, RED)), "red", "circle", "one", "large", id="as it should be"),
        pytest.param(picture((DISC, (250, 190, 190))), None, None, None, None, id="too faint to be an object"),
        pytest.param(picture((DISC, (255, 150, 150))), None, "circle", "one", "large", id="pink, which is no red"),
        pytest.param(picture((DISC, (128, 128, 128))), None, "circle", "one", "large", id="grey, which is no black"),
        pytest.param(picture((DISC, (255, 130, 0))), None, "circle", "one", "large", id="orange, which is no color of ours"),
        pytest.param(picture((DISC, RED), (DISC & (x < 20), GREEN)), None, "circle", "one", "large", id="half red, half green"),
        pytest.param(picture((abs(x - 20) + abs(y - 30) < 10, RED)), "red", None, "one", "large", id="a square on its corner"),
        pytest.param(picture((DISC & (y < 30), BLACK)), None, None, "one", "small", id="half a circle"),
        pytest.param(picture((DISC & ~((x - 20) ** 2 + (y - 30) ** 2 < 20), BLACK)), None, None, "one", "large", id="a ring"),
        pytest.param(picture((DISC, RED), (np.roll(DISC, 15, 1), RED)), None, None, "one", None, id="two grown together"),
        pytest.param(picture(((x - 20) ** 2 + (y - 30) ** 2 < 6.9**2, BLUE)), "blue", "circle", "one", None, id="between sizes"),
        pytest.param(
            picture(((x % 16 - 8) ** 2 + (y % 32 - 8) ** 2 < 5.6**2, BLUE)), "blue", "circle", None, "small", id="eight"
        ),
        pytest.param(picture((DISC, RED), (np.roll(DISC, 30, 1), BLUE)), None, "circle", "two", "large", id="of two colors"),
    ],
)
def test_no_more_is_read_than_the_picture_shows(image, color, shape, count, size):
    found = scene_of(read(image[None], 1)[0].tolist()).groups
    assert found == (Group(color, shape, count, size),)


def test_a_place_or_relation_between_two_is_not_told():
    slant = picture(((x - 20) ** 2 + (y - 20) ** 2 < 8.4**2, RED))
    assert read(slant[None], 1)[0, -1] == UNKNOWN
    other = picture(((x - 20) ** 2 + (y - 20) ** 2 < 5.4**2, RED), ((x - 44) ** 2 + (y - 44) ** 2 < 5.4**2, BLUE))
    label = read(other[None], 2)[0]
    assert label[-1] == UNKNOWN and scene_of(label.tolist()).groups[0] == Group("red", "circle", "one", "large")


def test_of_two_groups_what_is_there_is_right():
    """One that is missing, a third one, and an object whose shape is not clear but whose color tells where it belongs."""
    asked = labels_of("two small red circles left of a small blue square")
    left, middle, right = (((x - at) ** 2 + (y - 20) ** 2 < 3.6**2) for at in (8, 20, 50))
    square, corner = (np.maximum(abs(x - 50), abs(y - 40)) < 3.3), (abs(x - 20) + abs(y - 20) < 4.7)
    names = [name for name, _ in attributes(2)]

    def wrong(*parts):
        return {names[i] for i in np.flatnonzero(~matches(asked, read(picture(*parts)[None], 2))[0])}

    assert wrong((left | middle, RED), (square, BLUE)) == set()
    assert wrong((left | middle, RED)) == {*names[4:8], "relation"}
    assert wrong((left | corner, RED), (square, BLUE)) == {"first_shape"}
    assert wrong((left | middle, RED), (square, BLUE), (right, BLACK)) == {"first_color", "first_count"}  # three circles
    assert wrong((left, RED), (corner, BLACK), (square, BLUE)) == set(names)


def test_shares_of_what_is_right():
    asked = labels_of("two small red circles at the left", "circles", "a large black cross at the top", "blue circles")
    images = np.concatenate([drawn("two small red circles at the right"), *[drawn("three large red circles at the top")] * 3])
    assert score(asked, images) == {
        **{"color": 1 / 3, "shape": 3 / 4, "count": 1 / 2, "size": 1.0, "place": 1 / 2},
        **{"overall": 8 / 13, "whole": 1 / 4},
    }
    two = some(2, 20)
    images = draw(two, 64, 0, np.arange(20))
    assert score(swapped(two), images) == dict.fromkeys([*(name for name, _ in attributes(2)), "overall", "whole"], 1.0)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("num_groups", [1, 2])
def test_pictures_of_no_scene_have_nothing_right(num_groups):
    rng = np.random.default_rng(0)
    frame = np.full((1, 64, 64, 3), 255, np.uint8)
    frame[:, 2:-2, 2:-2], frame[:, 4:-4, 4:-4] = 0, 255
    blocks = rng.integers(0, 256, (20, 8, 8, 3)).repeat(8, 1).repeat(8, 2).astype(np.uint8)
    noise = rng.integers(0, 256, (10, 64, 64, 3)).astype(np.uint8)
    for images in (frame, 255 - frame, np.zeros_like(frame), blocks, noise):
        found = read(images, num_groups)
        assert not (found[:, :4] != UNKNOWN).all(1).any()
