"""Ranks, recalls and classes by name, against counting by hand."""

import jax.numpy as jnp
import numpy as np
import pytest

from genjax.evaluation.retrieval import batch_recalls, own_ranks, recalls
from genjax.evaluation.zero_shot import class_weights, fill, top_k_accuracy


def unit(shape, seed=0):
    x = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def test_ranks_are_places_in_the_sorted_list():
    queries, keys = unit((30, 8)), unit((30, 8), 1)
    expected = [1 + np.argsort(-(keys @ query)).tolist().index(i) for i, query in enumerate(queries)]
    assert own_ranks(queries, keys).tolist() == expected
    assert own_ranks(queries, queries).tolist() == [1] * 30


def test_a_model_that_says_the_same_of_everything_finds_nothing():
    same = np.tile(unit((1, 8)), (30, 1))
    assert own_ranks(same, same).tolist() == [30] * 30
    assert recalls(own_ranks(same, same))["recall@10"] == 0
    assert top_k_accuracy(same, same, np.arange(30), 29) == 0


def test_of_several_own_keys_the_nearest_counts():
    queries = unit((6, 8))
    keys = np.concatenate([unit((6, 8), 1), queries])  # each has a poor one and itself
    owners = np.tile(np.arange(6), 2)
    assert own_ranks(queries, keys, owners).tolist() == [1] * 6
    assert own_ranks(keys, queries, None)[6:].tolist() != [1] * 6  # without owners, key i is query i's


def test_recalls_of_ranks():
    found = recalls(np.array([1, 2, 6, 11]))
    assert found == {"recall@1": 0.25, "recall@5": 0.5, "recall@10": 0.75, "median_rank": 4.0}


def test_sums_of_a_batch_leave_out_the_rows_that_fill_it():
    images, texts = unit((12, 4)), unit((12, 4), 1)
    mask = np.arange(12) < 9
    found = batch_recalls(jnp.asarray(images), jnp.asarray(texts), jnp.asarray(mask), "image_to_text")
    ranks, back = own_ranks(images[:9], texts[:9]), own_ranks(texts[:9], images[:9])
    assert {name: (float(a), float(b)) for name, (a, b) in found.items()} == {
        "image_to_text_1": ((ranks <= 1).sum(), 9),
        "image_to_text_10": ((ranks <= 10).sum(), 9),
        "image_to_text_back_1": ((back <= 1).sum(), 9),
    }


def test_class_weights_are_normalized_means_over_templates():
    texts = fill(("cat", "dog"), ("a {}.", "the {} of {}"))
    assert texts == ("a cat.", "the cat of cat", "a dog.", "the dog of dog")
    assert fill(("cat", "dog")) == ("cat", "dog")
    embeddings = unit((4, 8))
    weights = class_weights(embeddings, 2)
    for i in range(2):
        mean = embeddings[2 * i : 2 * i + 2].mean(0)
        np.testing.assert_allclose(weights[i], mean / np.linalg.norm(mean), rtol=1e-6)


def test_top_k_accuracy_is_the_share_among_the_nearest():
    images, weights, labels = unit((40, 6)), unit((7, 6), 1), np.arange(40) % 7
    for k in (1, 3, 7):
        best = np.argsort(-(images @ weights.T), axis=1)[:, :k]
        assert top_k_accuracy(images, weights, labels, k) == pytest.approx(np.mean((best == labels[:, None]).any(1)))
