"""Lookups, tied heads, and their gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from genjax.layers.embedding import Embedding
from genjax.parallel.mesh import MeshConfig, make_mesh
from genjax.parallel.rules import context

IDS = np.array([[0, 3, 3], [10, 1, 6]], np.int32)


@pytest.fixture
def table():
    return np.random.default_rng(0).normal(size=(11, 4)).astype(np.float32)


@pytest.mark.parametrize("devices", [1, 8])
def test_lookup_and_logits_and_their_gradients(cpu_devices, table, devices):
    module = Embedding(11, 4)
    weight = np.random.default_rng(1).normal(size=(2, 3, 11)).astype(np.float32)

    def loss(table):
        variables = {"params": {"embedding": table}}
        x = module.apply(variables, IDS)
        logits = module.apply(variables, x, method="attend")
        return jnp.sum(logits * weight), (x, logits)

    with context(make_mesh(MeshConfig(data=1, fsdp=-1), cpu_devices[:devices])):
        gradient, (x, logits) = jax.jit(jax.grad(loss, has_aux=True))(table)
    np.testing.assert_array_equal(x, table[IDS])
    np.testing.assert_allclose(logits, np.einsum("BTD,VD->BTV", table[IDS], table), atol=1e-5)
    expected = np.einsum("BTV,BTD->VD", weight, table[IDS]).astype(np.float64)
    np.add.at(expected, IDS, np.einsum("BTV,VD->BTD", weight, table))  # token 3 stands twice and gets both
    np.testing.assert_allclose(gradient, expected, atol=2e-5)


def test_ids_outside_the_table_are_clipped(table):
    variables = {"params": {"embedding": table}}
    x = Embedding(11, 4).apply(variables, jnp.array([-1, 11, 99]))
    np.testing.assert_array_equal(x, table[[0, 10, 10]])


@pytest.mark.parametrize("axis", ["vocab", "position"])
def test_the_table_is_float32_with_names_and_logits_are_float32(axis):
    module = Embedding(11, 4, axis, dtype=jnp.bfloat16)
    variables = module.init(jax.random.key(0), IDS)
    box = variables["params"]["embedding"]
    assert box.names == (axis, "embed") and box.value.dtype == jnp.float32
    plain = nn.unbox(variables)
    x = module.apply(plain, IDS)
    assert x.dtype == jnp.bfloat16
    assert module.apply(plain, x, method="attend").dtype == jnp.float32
