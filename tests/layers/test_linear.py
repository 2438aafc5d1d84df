"""Contractions over several axes against einsum, on one device (as one matrix product) and on a mesh."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.layers.linear import Projection, contract
from genjax.parallel.mesh import MeshConfig, make_mesh
from genjax.parallel.rules import context

CASES = {  # equation, shapes of x and kernel, axes, transposed
    "plain": ("BTI,IO->BTO", (2, 3, 4), (4, 5), 1, False),
    "heads": ("BTI,IHK->BTHK", (2, 3, 4), (4, 2, 5), 1, False),
    "out": ("BTHK,HKO->BTO", (2, 3, 2, 4), (2, 4, 5), 2, False),
    "many": ("THK,HKGO->TGO", (3, 2, 4), (2, 4, 3, 5), 2, False),
    "vector": ("I,IO->O", (4,), (4, 5), 1, False),
    "transposed": ("BTI,OI->BTO", (2, 3, 4), (5, 4), 1, True),
    "transposed_many": ("THK,GOHK->TGO", (3, 2, 4), (3, 5, 2, 4), 2, True),
}


@pytest.mark.parametrize("devices", [1, 2])
@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients_are_einsums(cpu_devices, devices, name):
    equation, x_shape, kernel_shape, axes, transposed = CASES[name]
    rng = np.random.default_rng(0)
    x, kernel = rng.normal(size=x_shape), rng.normal(size=kernel_shape)
    expected = np.einsum(equation, x, kernel)
    weight = rng.normal(size=expected.shape)
    x_letters, kernel_letters, out = equation[: len(x_shape)], equation.split(",")[1].split("-")[0], equation.split(">")[1]

    @jax.jit
    def both(x, kernel):
        y, pullback = jax.vjp(lambda x, kernel: contract(x, kernel, axes, transposed=transposed), x, kernel)
        return y, *pullback(jnp.asarray(weight, jnp.float32))

    with context(make_mesh(MeshConfig(), cpu_devices[:devices])):
        y, x_gradient, kernel_gradient = both(np.float32(x), np.float32(kernel))
    np.testing.assert_allclose(y, expected, atol=1e-5)
    np.testing.assert_allclose(x_gradient, np.einsum(f"{out},{kernel_letters}->{x_letters}", weight, kernel), atol=1e-5)
    np.testing.assert_allclose(kernel_gradient, np.einsum(f"{out},{x_letters}->{kernel_letters}", weight, x), atol=1e-5)


@pytest.mark.parametrize("devices", [1, 2])
def test_bfloat16_products_are_summed_in_float32(cpu_devices, devices):
    """The sum of 4,096 ones and a small number; in bfloat16 it would stop at 256. Gradients have the operands' dtype."""
    x = jnp.ones((1, 4097), jnp.bfloat16).at[0, -1].set(0.5)
    kernel = jnp.ones((4097, 1), jnp.bfloat16)

    def function(x, kernel):
        return contract(x, kernel, out_dtype=jnp.float32)

    with context(make_mesh(MeshConfig(), cpu_devices[:devices])):
        y, pullback = jax.vjp(jax.jit(function), x, kernel)
        gradients = pullback(jnp.ones((1, 1)))
        assert contract(x, kernel).dtype == jnp.bfloat16
    assert y.dtype == jnp.float32 and y[0, 0] == 4096.5
    assert [g.dtype for g in gradients] == [jnp.bfloat16, jnp.bfloat16]


def test_projections_have_kernels_of_their_true_shape_and_add_a_bias():
    module = Projection((2, 3), ("embed", "heads", "head_dim"))
    x = np.random.default_rng(0).normal(size=(2, 5, 4)).astype(np.float32)
    variables = module.init(jax.random.key(0), x)
    kernel, bias = variables["params"]["kernel"], variables["params"]["bias"]
    assert kernel.value.shape == (4, 2, 3) and kernel.names == ("embed", "heads", "head_dim")
    assert bias.value.shape == (2, 3) and bias.names == ("heads", "head_dim")
    moved = {"params": {"kernel": kernel.value, "bias": bias.value + np.arange(6.0).reshape(2, 3)}}
    expected = np.einsum("BTD,DHK->BTHK", x, kernel.value) + np.arange(6.0).reshape(2, 3)
    np.testing.assert_allclose(module.apply(moved, x), expected, atol=1e-6)


def test_a_bias_along_the_residual_stream_is_kept_whole():
    module = Projection((4,), ("heads", "head_dim", "embed"), input_axes=2)
    params = module.init(jax.random.key(0), jnp.zeros((1, 2, 3)))["params"]
    assert params["kernel"].value.shape == (2, 3, 4)
    assert params["bias"].names == ("norm",)


def test_without_bias_and_in_half_precision():
    module = Projection((3,), ("embed", "mlp"), use_bias=False, dtype=jnp.bfloat16)
    variables = module.init(jax.random.key(0), jnp.zeros((1, 4)))
    assert set(variables["params"]) == {"kernel"} and variables["params"]["kernel"].value.dtype == jnp.float32
    assert module.apply(variables, jnp.zeros((1, 4))).dtype == jnp.bfloat16
    wide = Projection((3,), ("embed", "mlp"), use_bias=False, dtype=jnp.bfloat16, out_dtype=jnp.float32)
    assert wide.apply(variables, jnp.zeros((1, 4))).dtype == jnp.float32
