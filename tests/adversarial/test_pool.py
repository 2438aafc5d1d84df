"""The image pool against the public description, image by image, with the same draws."""

import jax
import numpy as np

from genjax.adversarial import pool
from genjax.adversarial.pool import ImagePool

exchange = jax.jit(pool.exchange)


def by_hand(held, size, images, key):
    """CycleGAN's pool: a list that fills up, then a coin for each image."""
    shown = []
    for image, own in zip(images, jax.random.split(key, len(images)), strict=True):
        swap_key, place_key = jax.random.split(own)
        if len(held) < size:
            held.append(image)
            shown.append(image)
        elif jax.random.bernoulli(swap_key):
            place = int(jax.random.randint(place_key, (), 0, size))
            shown.append(held[place])
            held[place] = image
        else:
            shown.append(image)
    return np.array(shown)


def test_as_described_over_many_batches():
    state, held, size = pool.empty(5, (2, 2, 1)), [], 5
    old = 0
    for step in range(12):
        images = np.full((3, 2, 2, 1), 10.0 * step, np.float32) + np.arange(3, dtype=np.float32)[:, None, None, None]
        shown, state = exchange(state, images, jax.random.key(step))
        np.testing.assert_array_equal(shown, by_hand(held, size, images, jax.random.key(step)))
        np.testing.assert_array_equal(state.images[: int(state.count)], np.array(held))
        old += (np.asarray(shown) != images).any((1, 2, 3)).sum()
    assert int(state.count) == 5 and 8 <= old <= 23  # of 31 after it was full, about half


def test_no_pool_shows_what_it_is_given():
    images = np.ones((3, 2, 2, 1), np.float32)
    shown, state = pool.exchange(pool.empty(0, (2, 2, 1)), images, jax.random.key(0))
    assert shown is images and isinstance(state, ImagePool)
