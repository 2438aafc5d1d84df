"""What each change does to an image, and that a row's changes depend on nothing but seed, epoch and row."""

import numpy as np
import pytest

from genjax.data.augmentation import GREY, AugmentationConfig, augment
from genjax.data.draws import uniforms

ROWS = np.arange(200)
IMAGES = np.random.default_rng(0).integers(0, 256, (200, 6, 8, 3)).astype(np.uint8)


def changed(**config):
    return augment(IMAGES, AugmentationConfig(**config), 3, np.zeros_like(ROWS), ROWS)


def test_draws_are_even_unrelated_and_the_same_alone():
    epochs = ROWS % 7
    draws = uniforms(5, 1, epochs, ROWS, 50)
    assert 0 <= draws.min() and draws.max() < 1
    assert abs(draws.mean() - 0.5) < 0.01 and abs(draws.var() - 1 / 12) < 0.002
    assert np.abs(np.corrcoef(draws.T) - np.eye(50)).max() < 0.35
    np.testing.assert_array_equal(draws[13:14], uniforms(5, 1, epochs[13:14], ROWS[13:14], 50))
    others = uniforms(6, 1, epochs, ROWS, 50), uniforms(5, 2, epochs, ROWS, 50), uniforms(5, 1, epochs + 1, ROWS, 50)
    assert all(abs(np.corrcoef(draws.reshape(-1), other.reshape(-1))[0, 1]) < 0.03 for other in others)


def test_nothing_is_changed_unless_it_is_asked_for():
    assert changed() is IMAGES


def test_half_the_images_are_mirrored():
    result = changed(flip=True)
    same = (result == IMAGES).all((1, 2, 3))
    mirrored = (result == IMAGES[:, :, ::-1]).all((1, 2, 3))
    assert (same ^ mirrored).all() and 70 < mirrored.sum() < 130


def test_padded_crops_are_shifts_with_the_edge_repeated():
    result = changed(pad=2)
    padded = np.pad(IMAGES, ((0, 0), (2, 2), (2, 2), (0, 0)), "edge")
    shifts = set()
    for image, around in zip(result, padded, strict=True):
        here = [(y, x) for y in range(5) for x in range(5) if np.array_equal(image, around[y : y + 6, x : x + 8])]
        assert here
        shifts.update(here)
    assert len(shifts) == 25


def test_zooming_keeps_the_middle_and_the_colours_of_a_flat_image():
    flat = np.full((200, 6, 8, 3), 77, np.uint8)
    np.testing.assert_array_equal(augment(flat, AugmentationConfig(zoom=0.5, pad=3), 0, ROWS, ROWS), flat)
    line = np.zeros((200, 9, 9, 1), np.uint8)
    line[:, 3:6, 3:6] = 255
    areas = augment(line, AugmentationConfig(zoom=0.5), 0, ROWS, ROWS).astype(bool).sum((1, 2, 3))
    assert areas.min() < 9 < areas.max()


def test_colour_is_one_line_through_all_pixels():
    result = changed(color=0.2).astype(float)
    image, before = result[0].reshape(-1), IMAGES[0].astype(float).reshape(-1)
    inside = (image > 0) & (image < 255)
    slope, shift = np.polyfit(before[inside], image[inside], 1)
    assert 0.75 < slope < 1.25 and np.abs(image[inside] - (slope * before[inside] + shift)).max() < 1.5


@pytest.mark.parametrize("share", [0.3, 1.0])
def test_a_grey_rectangle_takes_a_share_of_the_image(share):
    config = AugmentationConfig(erase=share, erase_area=(0.1, 0.3))
    black = np.zeros((200, 40, 30, 1), np.uint8)
    result = augment(black, config, 0, ROWS, ROWS)[..., 0]
    areas = (result == GREY).sum((1, 2))
    assert ((result == GREY) | (result == 0)).all()
    assert abs((areas > 0).mean() - share) < 0.12
    for image, area in zip(result, areas, strict=True):
        if area:
            down, across = (np.flatnonzero(image.any(axis)) for axis in (1, 0))
            assert (np.ptp(down) + 1) * (np.ptp(across) + 1) == area
            assert 0.08 < area / 1200 < 0.33


def test_a_row_is_the_same_in_any_batch():
    config = AugmentationConfig(flip=True, pad=2, zoom=0.2, color=0.2, erase=0.5)
    epochs = ROWS % 3
    whole = augment(IMAGES, config, 1, epochs, ROWS)
    part = [5, 90, 17]
    np.testing.assert_array_equal(whole[part], augment(IMAGES[part], config, 1, epochs[part], ROWS[part]))
    assert not np.array_equal(whole, augment(IMAGES, config, 1, epochs + 1, ROWS))
