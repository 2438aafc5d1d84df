"""Norms against their formulas in float64, with gradients by central differences of those formulas."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from genjax.errors import ConfigError
from genjax.layers.norm import InstanceNorm, LayerNorm, RMSNorm, layer_norm, rms_norm
from genjax.parallel.mesh import MeshConfig, make_mesh
from genjax.parallel.rules import context


def plain_layer_norm(x, scale, bias, epsilon):
    mean = x.mean(-1, keepdims=True)
    return (x - mean) / np.sqrt(((x - mean) ** 2).mean(-1, keepdims=True) + epsilon) * scale + bias


def plain_rms_norm(x, scale, epsilon):
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + epsilon) * scale


def central_differences(function, arguments, step=1e-5):
    """Gradients of a scalar function of float64 arrays."""
    gradients = []
    for which, argument in enumerate(arguments):
        gradient = np.zeros_like(argument)
        for index in np.ndindex(argument.shape):
            values = []
            for sign in (1, -1):
                moved = argument.copy()
                moved[index] += sign * step
                values.append(function(*arguments[:which], moved, *arguments[which + 1 :]))
            gradient[index] = (values[0] - values[1]) / (2 * step)
        gradients.append(gradient)
    return gradients


@pytest.fixture
def drawn():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 3, 6)) * 2 + 5  # a mean far from zero
    return x, rng.normal(size=6) + 1, rng.normal(size=6), rng.normal(size=(2, 3, 6))


@pytest.mark.parametrize("devices", [1, 2])
@pytest.mark.parametrize("with_bias", [True, False])
def test_layer_norm_and_its_gradients(cpu_devices, drawn, devices, with_bias):
    x, scale, bias, weight = drawn
    bias = bias if with_bias else np.zeros(6)

    def ours(x, scale, bias):
        return jnp.sum(layer_norm(x, scale, bias if with_bias else None, 1e-3) * weight)

    single = [np.asarray(a, np.float32) for a in (x, scale, bias)]
    with context(make_mesh(MeshConfig(), cpu_devices[:devices])):
        y = jax.jit(lambda *a: layer_norm(*a, 1e-3))(*single)
        gradients = jax.jit(jax.grad(ours, (0, 1, 2)))(*single)
    np.testing.assert_allclose(y, plain_layer_norm(x, scale, bias, 1e-3), atol=2e-6)
    expected = central_differences(lambda *a: (plain_layer_norm(*a, 1e-3) * weight).sum(), [x, scale, bias])
    for found, gradient in zip(gradients[: 3 if with_bias else 2], expected, strict=False):
        np.testing.assert_allclose(found, gradient, atol=5e-6)


def test_rms_norm_and_its_gradients(drawn):
    x, scale, _, weight = drawn
    single = [np.asarray(a, np.float32) for a in (x, scale)]
    np.testing.assert_allclose(rms_norm(*single, 1e-3), plain_rms_norm(x, scale, 1e-3), atol=2e-6)
    gradients = jax.jit(jax.grad(lambda *a: jnp.sum(rms_norm(*a, 1e-3) * weight), (0, 1)))(*single)
    expected = central_differences(lambda *a: (plain_rms_norm(*a, 1e-3) * weight).sum(), [x, scale])
    for found, gradient in zip(gradients, expected, strict=True):
        np.testing.assert_allclose(found, gradient, atol=5e-6)


@pytest.mark.parametrize(
    ("module", "names"),
    [(LayerNorm(), {"scale", "bias"}), (LayerNorm(use_bias=False), {"scale"}), (RMSNorm(), {"scale"})],
)
def test_parameters_start_as_the_identity(module, names):
    params = module.init(jax.random.key(0), jnp.zeros((1, 4)))["params"]
    assert set(params) == names
    np.testing.assert_array_equal(params["scale"].value, np.ones(4))
    if "bias" in names:
        np.testing.assert_array_equal(params["bias"].value, np.zeros(4))


@pytest.mark.parametrize("module", [LayerNorm(dtype=jnp.bfloat16), RMSNorm(dtype=jnp.bfloat16)])
def test_statistics_of_bfloat16_are_in_float32(module):
    """4,096 features around 100: a bfloat16 sum would be off by whole units. The result is off by its own rounding only."""
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 4096)) + 100, jnp.bfloat16)
    variables = module.init(jax.random.key(0), x)
    y = module.apply(variables, x)
    assert y.dtype == jnp.bfloat16
    exact = np.asarray(x, np.float64)
    plain = plain_layer_norm(exact, 1, 0, 1e-5) if isinstance(module, LayerNorm) else plain_rms_norm(exact, 1, 1e-5)
    np.testing.assert_allclose(np.asarray(y, np.float64), plain, rtol=2**-8, atol=1e-4)


@pytest.mark.parametrize("module", [LayerNorm(), RMSNorm()])
def test_a_constant_row_is_finite_with_a_finite_gradient(module):
    x = jnp.zeros((1, 8))
    variables = module.init(jax.random.key(0), x)
    assert np.isfinite(jax.grad(lambda x: module.apply(variables, x).sum())(x)).all()


@pytest.mark.parametrize("affine", [False, True])
def test_instance_norm_equals_torchs(affine):
    draw = np.random.default_rng(0)
    x = (draw.normal(size=(2, 5, 4, 3)) * 2 + 3).astype(np.float32)
    theirs = torch.nn.InstanceNorm2d(3, affine=affine)
    params = {"scale": draw.normal(size=3).astype(np.float32), "bias": draw.normal(size=3).astype(np.float32)} if affine else {}
    if affine:
        theirs.load_state_dict({"weight": torch.from_numpy(params["scale"]), "bias": torch.from_numpy(params["bias"])})
    expected = theirs(torch.from_numpy(x).permute(0, 3, 1, 2)).permute(0, 2, 3, 1).detach().numpy()
    np.testing.assert_allclose(InstanceNorm(affine=affine).apply({"params": params}, x), expected, atol=5e-6)
    with pytest.raises(ConfigError, match=r"shape \(2, 1, 1, 3\) have one place.*larger images"):
        InstanceNorm().apply({}, x[:, :1, :1])
