"""Selection without sorting, against sorting."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from genjax.decoding import select

SPECIAL = np.array([0.0, -0.0, np.inf, -np.inf, 1e-42, -1e-42, 3.4e38, -3.4e38, 1.0, 1.0], np.float32)


def rows(seed, size, count=5):
    return np.random.default_rng(seed).normal(size=(count, size)).astype(np.float32) * 3


DIGITS = pytest.mark.parametrize("bits", [1, 2, 4])


@DIGITS
@pytest.mark.parametrize("size", [1, 7, 300, 5000])
def test_kth_largest_is_that_of_a_sort(size, bits):
    scores = rows(0, size)
    k = np.random.default_rng(1).integers(1, size + 1, 5)
    expected = np.take_along_axis(-np.sort(-scores, axis=-1), k[:, None] - 1, axis=1)[:, 0]
    np.testing.assert_array_equal(select.kth_largest(jnp.asarray(scores), jnp.asarray(k), bits), expected)


@DIGITS
def test_kth_largest_orders_special_values(bits):
    scores = np.tile(SPECIAL, (len(SPECIAL), 1))
    k = jnp.arange(1, len(SPECIAL) + 1)
    np.testing.assert_array_equal(select.kth_largest(jnp.asarray(scores), k, bits), -np.sort(-SPECIAL))


def test_first_argmax_takes_the_lowest_index_of_equals():
    scores = np.array([[1, 3, 3, 2], [5, 5, 5, 5], [0, 0, 0, 1], [-np.inf, -np.inf, -4, -4]], np.float32)
    np.testing.assert_array_equal(select.first_argmax(jnp.asarray(scores)), [1, 0, 3, 2])


@pytest.mark.parametrize("size,count", [(40, 8), (5000, 8), (5003, 1), (100_000, 12)])
@pytest.mark.parametrize("ties", [False, True])
def test_best_is_top_k(size, count, ties):
    scores = rows(2, size)
    scores = np.round(scores) if ties else scores
    values, index = select.best(jnp.asarray(scores), count)
    expected_values, expected_index = jax.lax.top_k(jnp.asarray(scores), count)
    np.testing.assert_array_equal(values, expected_values)
    np.testing.assert_array_equal(index, expected_index)


@DIGITS
@pytest.mark.parametrize("mass", [0.0, 0.3, 0.9, 0.999])
def test_mass_threshold_is_that_of_a_cumulative_sum(mass, bits):
    scores = rows(3, 1000)
    probabilities = np.asarray(jax.nn.softmax(jnp.asarray(scores), axis=-1), np.float64)
    given = jnp.asarray(scores), jnp.asarray(probabilities, jnp.float32), jnp.full((5,), mass)
    thresholds = np.asarray(select.mass_threshold(*given, bits))
    for row, found, probability in zip(scores, thresholds, probabilities, strict=True):
        order = np.argsort(row)
        assert found == row[order][np.argmax(np.cumsum(probability[order]) > mass)]


def test_mass_threshold_never_passes_the_maximum():
    scores = jnp.zeros((1, 3)).at[0, 1].set(2.0)
    assert select.mass_threshold(scores, jnp.full((1, 3), 0.1), jnp.ones((1,))) == 2.0


def keys(count, seed=0):
    return jax.random.split(jax.random.key(seed), count)


@pytest.mark.parametrize("size", [6, 900])
def test_draws_follow_the_distribution(size):
    """Chi-square over 40,000 draws; tokens that are expected fewer than five times are taken together."""
    logits = np.random.default_rng(size).normal(size=size).astype(np.float32) * 2
    logits[[1, size - 1]] = -np.inf
    draws = 40_000
    drawn = np.asarray(jax.jit(select.draw)(jnp.tile(jnp.asarray(logits), (draws, 1)), keys(draws)))
    expected = np.exp(logits.astype(np.float64)) / np.exp(logits.astype(np.float64)).sum() * draws
    counts = np.bincount(drawn, minlength=size)
    assert counts[1] == counts[size - 1] == 0
    rare = expected < 5
    observed = np.append(counts[~rare], counts[rare].sum())
    wanted = np.append(expected[~rare], expected[rare].sum())
    keep = wanted > 0
    assert stats.chisquare(observed[keep], wanted[keep]).pvalue > 0.01


def test_a_draw_depends_on_its_row_alone():
    logits, k = jnp.asarray(rows(4, 700, 6)), keys(6)
    together = select.draw(logits, k)
    for row in range(6):
        assert select.draw(logits[row : row + 1], k[row : row + 1])[0] == together[row]


def test_the_only_possible_token_is_drawn():
    logits = jnp.full((600, 600), -jnp.inf).at[jnp.arange(600), jnp.arange(600)].set(-50.0)
    np.testing.assert_array_equal(select.draw(logits, keys(600)), np.arange(600))
