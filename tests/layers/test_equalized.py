"""Layers at an equalized learning rate: against formulas in float64, and groups of a batch on one device and on eight."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.core import meta

from genjax.errors import ConfigError
from genjax.layers.equalized import EqualizedConv, EqualizedProjection, minibatch_stddev, pixel_norm, scaled_leaky_relu
from genjax.parallel.mesh import MeshConfig, make_mesh
from genjax.parallel.processes import global_batch
from genjax.parallel.rules import context

DRAW = np.random.default_rng(0)


def begin(layer, x):
    return meta.unbox(jax.jit(layer.init)(jax.random.key(0), x))


def test_projections_scale_what_they_learn():
    x = DRAW.standard_normal((5, 2, 3, 64), np.float32)
    layer = EqualizedProjection(256, lr_multiplier=0.01, bias_init=50, input_axes=3, gain=3.0)
    variables = begin(layer, x)
    kernel, bias = (np.asarray(variables["params"][name], np.float64) for name in ("kernel", "bias"))
    assert kernel.shape == (2, 3, 64, 256) and (bias == 50).all()
    assert kernel.std() == pytest.approx(100, rel=0.01)  # of 98,304 draws
    expected = x.reshape(5, -1) @ kernel.reshape(-1, 256) * 0.01 * 3 / np.sqrt(2 * 3 * 64) + 0.01 * bias
    np.testing.assert_allclose(jax.jit(layer.apply)(variables, x), expected, atol=2e-5)


def test_convolutions_scale_what_they_learn():
    x = DRAW.standard_normal((2, 4, 4, 64), np.float32)
    layer = EqualizedConv(64, gain=np.sqrt(2))
    variables = begin(layer, x)
    kernel = np.asarray(variables["params"]["kernel"], np.float64)
    assert kernel.std() == pytest.approx(1, rel=0.02) and (variables["params"]["bias"] == 0).all()
    variables["params"]["bias"] = jnp.arange(64.0)
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    taps = [padded[:, i : i + 4, j : j + 4] @ kernel[i, j] for i in range(3) for j in range(3)]
    np.testing.assert_allclose(
        jax.jit(layer.apply)(variables, x), sum(taps) * np.sqrt(2 / 576) + np.arange(64), atol=2e-5, rtol=1e-6
    )


def test_norm_and_activation():
    x = DRAW.standard_normal((3, 4, 8), np.float32)
    np.testing.assert_allclose(pixel_norm(x), x / np.sqrt((x.astype(np.float64) ** 2).mean(-1, keepdims=True) + 1e-8), rtol=1e-6)
    assert pixel_norm(jnp.zeros(4)).tolist() == [0, 0, 0, 0]
    assert pixel_norm(jnp.full(4, 3e4, jnp.float16)).tolist() == [1, 1, 1, 1]  # whose squares float16 does not hold
    np.testing.assert_allclose(scaled_leaky_relu(x), np.where(x > 0, x, 0.2 * x) * np.sqrt(2), rtol=1e-6)
    np.testing.assert_allclose(scaled_leaky_relu(x, 3.0, 0.5), np.clip(np.where(x > 0, x, 0.2 * x) * 3, -0.5, 0.5), rtol=1e-6)


def stddev_by_loops(x, group, channels):
    batch, height, width, features = x.shape
    count, part = batch // group, features // channels
    result = np.zeros((batch, height, width, channels))
    for i in range(count):
        members = np.asarray(x[i::count], np.float64)
        spread = np.sqrt(((members - members.mean(0)) ** 2).mean(0) + 1e-8)
        for j in range(channels):
            result[i::count, ..., j] = spread[..., j * part : (j + 1) * part].mean()
    return np.concatenate([x, result], axis=-1)


@pytest.mark.parametrize("batch, group, channels", [(8, 4, 1), (8, 2, 3), (8, 8, 2), (3, 4, 1)])
def test_deviation_within_groups(batch, group, channels):
    x = DRAW.standard_normal((batch, 2, 3, 6), np.float32)
    found = jax.jit(minibatch_stddev, static_argnums=(1, 2))(x, group, channels)
    np.testing.assert_allclose(found, stddev_by_loops(x, min(group, batch), channels), atol=1e-6)


@pytest.mark.parametrize("shape", [dict(data=8), dict(data=2, fsdp=2, tensor=2)], ids=str)
def test_groups_span_devices(cpu_devices, shape):
    """Values and gradients of a batch that eight devices hold equal those of one device."""
    x = DRAW.standard_normal((16, 2, 2, 6), np.float32)
    weights = DRAW.standard_normal((16, 2, 2, 8), np.float32)

    def loss(x):
        y = minibatch_stddev(x, 4, 2)
        return (y * weights).sum(), y

    step = jax.jit(jax.value_and_grad(loss, has_aux=True))
    (_, expected), gradient = step(x)
    mesh = make_mesh(MeshConfig(**shape), cpu_devices)
    with context(mesh):
        placed = global_batch({"x": x}, mesh)["x"]
        parts = {shard.index[0].start for shard in placed.addressable_shards}
        assert len(parts) == mesh.shape["data"] * mesh.shape["fsdp"]
        (_, found), other = step(placed)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_allclose(other, gradient, atol=1e-6)


def test_messages():
    with pytest.raises(
        ConfigError, match="a batch of 6 does not divide into groups of 4; use a multiple, or another mbstd_group"
    ):
        minibatch_stddev(jnp.zeros((6, 2, 2, 4)))
    with pytest.raises(ConfigError, match="4 features do not divide over mbstd_channels 3"):
        minibatch_stddev(jnp.zeros((4, 2, 2, 4)), channels=3)
