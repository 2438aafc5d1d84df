"""Perplexity, bits per byte and accuracy against closed forms, and their sums' invariances."""

import math
import warnings

import jax.numpy as jnp
import numpy as np
import pytest

from genjax.errors import DataError
from genjax.evaluation import perplexity


def test_a_uniform_model_has_the_vocabulary_as_perplexity():
    vocab, shape = 50, (3, 7)
    targets = np.random.default_rng(0).integers(1, vocab, shape)
    token_bytes = np.full(vocab, 4)
    sums = perplexity.batch_sums(jnp.full((*shape, vocab), 3.7), targets, np.ones(shape, np.int32), token_bytes)
    values = perplexity.summarize(perplexity.averages(sums))
    assert values["loss"] == pytest.approx(math.log(vocab), rel=1e-6)
    assert values["perplexity"] == pytest.approx(vocab, rel=1e-5)
    assert values["bits_per_byte"] == pytest.approx(math.log2(vocab) / 4, rel=1e-6)
    assert values["accuracy"] == 0.0  # of equal logits the first is the guess, and no target is 0


def test_known_probabilities_give_their_entropy_and_hits():
    probabilities = np.array([[0.5, 0.25, 0.125, 0.125], [0.1, 0.2, 0.3, 0.4], [0.7, 0.1, 0.1, 0.1]])
    targets, token_bytes = np.array([[1, 3, 2]]), np.array([1, 2, 5, 3])
    sums = perplexity.batch_sums(jnp.log(probabilities)[None], targets, np.array([[1, 1, 0]]), token_bytes)
    nats = -math.log(0.25) - math.log(0.4)
    values = perplexity.averages(sums)
    assert values["loss"] == pytest.approx(nats / 2, rel=1e-6)
    assert values["accuracy"] == pytest.approx(0.5)
    assert values["bits_per_byte"] == pytest.approx(nats / math.log(2) / (2 + 3), rel=1e-6)


def test_sums_of_parts_are_the_sums_of_the_whole():
    rng = np.random.default_rng(1)
    logits, targets = rng.normal(size=(6, 9, 20)).astype(np.float32) * 3, rng.integers(0, 20, (6, 9))
    mask, token_bytes = rng.integers(0, 2, (6, 9)), rng.integers(0, 5, 20)
    whole = perplexity.averages(perplexity.batch_sums(logits, targets, mask, token_bytes))
    parts = [perplexity.batch_sums(logits[i : i + 2], targets[i : i + 2], mask[i : i + 2], token_bytes) for i in (0, 2, 4)]
    together = perplexity.averages(perplexity.add(parts))
    assert together == pytest.approx(whole, rel=1e-6)


def test_what_is_masked_has_no_influence_not_even_nan():
    rng = np.random.default_rng(2)
    logits, targets = rng.normal(size=(2, 5, 8)).astype(np.float32), rng.integers(0, 8, (2, 5))
    mask = np.array([[1, 1, 0, 0, 0], [1, 1, 1, 1, 0]])
    spoiled = np.where(mask[..., None] == 0, np.nan, logits)
    other = np.where(mask == 0, (targets + 3) % 8, targets)
    for name, (total, weight) in perplexity.batch_sums(spoiled, other, mask, np.arange(8)).items():
        expected = perplexity.batch_sums(logits, targets, mask, np.arange(8))[name]
        assert (float(total), float(weight)) == tuple(map(float, expected))


def test_adding_counts_exactly_beyond_what_float32_counts():
    many = {"loss": (np.float32(2**24), np.float32(2**24))}
    one = {"loss": (np.float32(1), np.float32(1))}
    assert perplexity.add([many, one, one, one])["loss"] == (2.0**24 + 3, 2.0**24 + 3)


def test_no_scored_text_is_an_error():
    sums = perplexity.batch_sums(jnp.zeros((1, 2, 3)), np.zeros((1, 2), np.int32), np.zeros((1, 2), np.int32))
    with pytest.raises(DataError, match="no text was scored for loss, accuracy"):
        perplexity.averages(sums)


def test_a_diverged_loss_has_infinite_perplexity_and_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert perplexity.summarize({"loss": 1000.0})["perplexity"] == math.inf
    assert perplexity.summarize({"accuracy": 0.5}) == {"accuracy": 0.5}
