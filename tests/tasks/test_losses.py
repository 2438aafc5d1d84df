"""Cross-entropy against its definition, and in chunks against the whole."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from genjax.tasks.losses import language_model_sums, token_cross_entropy


@pytest.fixture
def drawn():
    keys = jax.random.split(jax.random.key(0), 4)
    hidden = jax.random.normal(keys[0], (3, 8, 5))
    head = jax.random.normal(keys[1], (5, 11))
    targets = jax.random.randint(keys[2], (3, 8), 0, 11)
    mask = jax.random.bernoulli(keys[3], 0.7, (3, 8)).astype(jnp.int32)
    return hidden, head, targets, mask


@pytest.mark.parametrize("z_loss", [1e-4, 0.3])
def test_z_loss_is_the_squared_log_normalizer(drawn, z_loss):
    hidden, head, targets, _ = drawn
    logits = 3 * (hidden @ head)

    def formula(logits):
        plain = optax.softmax_cross_entropy_with_integer_labels(logits, targets)
        return jnp.sum(plain + z_loss * jnp.log(jnp.exp(logits).sum(-1)) ** 2)

    ours, gradient = jax.value_and_grad(lambda x: token_cross_entropy(x, targets, z_loss).sum())(logits)
    theirs, expected = jax.value_and_grad(formula)(logits)
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)
    np.testing.assert_allclose(gradient, expected, atol=1e-5)


@pytest.mark.parametrize(("smoothing", "z_loss"), [(0.1, 0.0), (0.7, 0.2)])
def test_smoothing_is_the_cross_entropy_to_smoothed_labels(drawn, smoothing, z_loss):
    hidden, head, targets, _ = drawn
    logits = 3 * (hidden @ head)
    labels = optax.smooth_labels(jax.nn.one_hot(targets, 11), smoothing)

    def formula(logits):
        return jnp.sum(optax.softmax_cross_entropy(logits, labels) + z_loss * jax.nn.logsumexp(logits, -1) ** 2)

    ours, gradient = jax.value_and_grad(lambda x: token_cross_entropy(x, targets, z_loss, smoothing).sum())(logits)
    theirs, expected = jax.value_and_grad(formula)(logits)
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)
    np.testing.assert_allclose(gradient, expected, atol=1e-5)


def test_value_and_gradient_are_those_of_log_softmax(drawn):
    hidden, head, targets, mask = drawn

    def loss(function, logits):
        return jnp.sum(function(logits, targets) * mask)

    logits = 30 * (hidden @ head)  # large enough that a careless exponential overflows
    ours, gradient = jax.value_and_grad(lambda x: loss(token_cross_entropy, x))(logits)
    reference = optax.softmax_cross_entropy_with_integer_labels
    theirs, expected = jax.value_and_grad(lambda x: loss(reference, x))(logits)
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)
    # Logits of 200 are known to 1.5e-5 in float32, and so are the exponents of the probabilities.
    np.testing.assert_allclose(gradient, expected, atol=2e-5)


@pytest.mark.parametrize("chunk", [1, 2, 4, 8, 100])
def test_chunks_sum_to_the_whole_with_the_same_gradients(drawn, chunk):
    hidden, head, targets, mask = drawn

    def nats(hidden, head, chunk):
        return language_model_sums(hidden, targets, mask, lambda h: h @ head, chunk)[0]

    whole = jax.value_and_grad(nats, argnums=(0, 1))(hidden, head, 0)
    parts = jax.value_and_grad(nats, argnums=(0, 1))(hidden, head, chunk)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), parts, whole)


def test_only_unmasked_targets_count(drawn):
    hidden, head, targets, mask = drawn
    nats, correct = language_model_sums(hidden, targets, mask, lambda h: h @ head)
    scores = np.asarray(hidden @ head, np.float64)
    scores -= np.log(np.exp(scores).sum(-1, keepdims=True))
    chosen = np.take_along_axis(scores, np.asarray(targets)[..., None], -1)[..., 0]
    np.testing.assert_allclose(nats, -(chosen * mask).sum(), rtol=1e-5)
    assert float(correct) == ((scores.argmax(-1) == targets) * mask).sum()


def test_chunked_logits_never_exist_as_a_whole(drawn):
    hidden, head, targets, mask = drawn
    text = str(jax.make_jaxpr(lambda h: language_model_sums(h, targets, mask, lambda x: x @ head, 2))(hidden))
    assert "3,2,11" in text and "3,8,11" not in text
