"""Contrastive losses: their formulas, the same on 8 devices as on 1, in memory that grows linearly with the batch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.errors import ConfigError
from genjax.parallel.mesh import MeshConfig, make_mesh
from genjax.parallel.rules import batch_sharding, context
from genjax.tasks.contrastive_losses import sigmoid_contrastive_loss, softmax_contrastive_loss


def softmax(images, texts, log_scale, bias, **arguments):
    return softmax_contrastive_loss(images, texts, log_scale, **arguments) + 0 * bias


FORMS = {"softmax": softmax, "sigmoid": sigmoid_contrastive_loss}


def formula(kind, images, texts, log_scale, bias):
    """The papers' formulas, on the whole matrix."""
    logits = jnp.exp(log_scale) * jnp.einsum("id,td->it", images, texts, precision="highest")
    if kind == "sigmoid":
        signs = 2 * jnp.eye(len(images)) - 1
        return -jax.nn.log_sigmoid(signs * (logits + bias)).sum() / len(images)
    rows, columns = jax.nn.log_softmax(logits, axis=1), jax.nn.log_softmax(logits, axis=0)
    return -(jnp.trace(rows) + jnp.trace(columns)) / (2 * len(images)) + 0 * bias


def draw(batch, features=6, scale=20.0, bias=-3.0):
    rng = np.random.default_rng(batch)
    images, texts = rng.normal(size=(2, batch, features)).astype(np.float32)
    texts += images  # those that belong together are alike
    images, texts = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (images, texts))
    return images, texts, np.float32(np.log(scale)), np.float32(bias)


def values_and_gradients(function, inputs):
    return jax.jit(jax.value_and_grad(function, argnums=(0, 1, 2, 3)))(*inputs)


def assert_same(found, expected):
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-5)
    for one, other in zip(found[1], expected[1], strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5 * max(1e-3, float(np.abs(other).max())))


@pytest.mark.parametrize("kind", FORMS)
@pytest.mark.parametrize("batch, block", [(8, 512), (8, 2), (13, 5)])
def test_blocks_compute_the_formula(kind, batch, block):
    inputs = draw(batch)
    found = values_and_gradients(lambda *x: FORMS[kind](*x, block=block), inputs)
    assert_same(found, values_and_gradients(lambda *x: formula(kind, *x), inputs))


@pytest.mark.parametrize("kind", FORMS)
@pytest.mark.parametrize("axes", [dict(data=8), dict(data=2, fsdp=2, tensor=2)], ids=["data8", "data2fsdp2tensor2"])
def test_eight_devices_equal_one(kind, axes, cpu_devices):
    inputs = draw(48)
    mesh = make_mesh(MeshConfig(**axes), cpu_devices)
    expected = values_and_gradients(lambda *x: FORMS[kind](*x), inputs)
    with context(mesh):
        split = [jax.device_put(x, batch_sharding(mesh, ndim=2)) for x in inputs[:2]]
        found = values_and_gradients(lambda *x: FORMS[kind](*x, block=4), (*split, *inputs[2:]))
    assert_same(found, expected)
    assert found[1][0].sharding.is_equivalent_to(batch_sharding(mesh, ndim=2), 2)


@pytest.mark.parametrize("kind", FORMS)
def test_memory_grows_linearly_with_the_batch(kind, cpu_devices):
    """Of the compiled program of 8 devices. Where the batch grows fourfold, the matrix of similarities grows sixteenfold."""
    mesh = make_mesh(MeshConfig(data=8), cpu_devices)

    def peak(function, batch):
        rows = jax.ShapeDtypeStruct((batch, 16), jnp.float32, sharding=batch_sharding(mesh, ndim=2))
        number = jax.ShapeDtypeStruct((), jnp.float32)
        with context(mesh):
            compiled = jax.jit(jax.grad(function, argnums=(0, 1, 2, 3))).lower(rows, rows, number, number).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    small, large = (peak(lambda *x: FORMS[kind](*x, block=64), batch) for batch in (2048, 8192))
    assert large < 4.2 * small
    assert peak(lambda *x: formula(kind, *x), 8192) > 10 * large


def test_the_scale_is_limited_and_can_come_back():
    images, texts, _, _ = draw(8)
    above = np.float32(np.log(150.0))
    at_limit = softmax_contrastive_loss(images, texts, np.float32(np.log(100.0)))
    value = softmax_contrastive_loss(images, texts, above)
    np.testing.assert_allclose(value, at_limit, rtol=1e-6)
    # These pairs are no better than chance: a smaller scale has the smaller loss, so descent must be let down.
    wrong, down = jax.value_and_grad(softmax_contrastive_loss, argnums=2)(images, texts[::-1].copy(), above)
    assert wrong > value and down > 0
    # These are right, if narrowly, and would raise it further: nothing is left of that.
    basis = np.eye(8, dtype=np.float32)
    narrow = (1 + 0.02 * basis) / np.linalg.norm(1 + 0.02 * basis, axis=1, keepdims=True)
    assert jax.grad(softmax_contrastive_loss, argnums=2)(basis, narrow, above) == 0
    assert jax.grad(softmax_contrastive_loss, argnums=2)(basis, narrow, np.float32(np.log(99.0))) < -0.1


def test_large_scales_stay_finite():
    """exp(100) is no float32."""
    basis = np.eye(8, dtype=np.float32)
    loss, gradient = jax.value_and_grad(softmax_contrastive_loss)(basis, -basis, np.float32(np.log(100.0)))
    np.testing.assert_allclose(loss, 100 + np.log(7), rtol=1e-5)
    assert np.isfinite(gradient).all()


def test_a_batch_that_does_not_divide_is_refused(cpu_devices):
    images, texts, log_scale, _ = draw(12)
    with context(make_mesh(MeshConfig(data=8), cpu_devices)):
        with pytest.raises(ConfigError, match="12 pairs does not divide over 8 devices; use a multiple of 8"):
            jax.eval_shape(softmax_contrastive_loss, images, texts, log_scale)
    with pytest.raises(ConfigError, match="same number of pairs"):
        softmax_contrastive_loss(images, texts[:4], log_scale)
