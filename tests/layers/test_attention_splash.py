"""The TPU kernel, interpreted on CPU, computes what the formula says, whole and split over a mesh."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.layers.attention_dense import dense_attention
from genjax.layers.attention_mask import Masking
from genjax.layers.attention_splash import splash_attention
from genjax.parallel.mesh import MeshConfig, make_mesh
from genjax.parallel.rules import DEFAULT_RULES, context, current_context


def operands(batch, length, keys, heads, kv_heads, head_dim=16):
    random = np.random.default_rng(0)
    shapes = ((batch, length, heads, head_dim), (batch, keys, kv_heads, head_dim), (batch, keys, kv_heads, head_dim))
    return [jnp.asarray(random.standard_normal(shape), jnp.float32) for shape in shapes]


def documents(batch, length):
    """Three documents a row and padding at the end."""
    cuts = np.array([0.3, 0.45, 0.9]) * length
    ids = 1 + (np.arange(length)[:, None] >= cuts[:2]).sum(1)
    return jnp.asarray(np.tile(np.where(np.arange(length) < cuts[2], ids, 0), (batch, 1)), jnp.int32)


def masking(causal=True, window=0, query_ids=None, key_ids=None):
    return Masking(causal, window, query_ids, query_ids if key_ids is None else key_ids, None, 0)


def values_and_gradients(function, arrays):
    return jax.jit(jax.value_and_grad(lambda *a: jnp.sum(jnp.sin(function(*a))), argnums=(0, 1, 2)))(*arrays)


def assert_same(ours, reference):
    for own, expected in zip(jax.tree.leaves(ours), jax.tree.leaves(reference), strict=True):
        scale = max(1.0, float(jnp.abs(expected).max()))
        np.testing.assert_allclose(own, expected, atol=2e-5 * scale, rtol=0)


@pytest.mark.parametrize(
    ("length", "keys", "heads", "kv_heads", "causal", "window", "packed"),
    [
        (128, 128, 2, 2, True, 0, False),
        (256, 256, 4, 2, True, 0, True),  # GQA, packed rows
        (256, 256, 2, 1, True, 40, True),  # MQA, sliding window
        (150, 150, 2, 2, True, 0, True),  # padded to 256
        (130, 200, 2, 2, False, 0, False),  # cross-attention, both lengths padded
    ],
)
def test_interpreted_kernel_equals_the_formula(length, keys, heads, kv_heads, causal, window, packed):
    arrays = operands(1, length, keys, heads, kv_heads)
    ids = documents(1, length) if packed else None
    rule = masking(causal, window, ids)
    ours = values_and_gradients(lambda *a: splash_attention(*a, rule, None, interpret=True), arrays)
    assert_same(ours, values_and_gradients(lambda *a: dense_attention(*a, rule), arrays))


@pytest.mark.parametrize(
    ("config", "kv_heads"),
    [
        (MeshConfig(data=2, tensor=2), 2),
        (MeshConfig(data=1, tensor=4), 2),  # fewer key heads than devices: they are repeated
        (MeshConfig(data=1, fsdp=2, sequence=2), 4),
    ],
    ids=["data and tensor", "more devices than key heads", "fsdp and sequence"],
)
def test_split_kernel_equals_the_formula(cpu_devices, config, kv_heads):
    mesh = make_mesh(config, cpu_devices[:4])
    arrays = operands(2, 256, 256, 4, kv_heads)
    rule = masking(query_ids=documents(2, 256))
    reference = values_and_gradients(lambda *a: dense_attention(*a, rule), arrays)
    with context(mesh, DEFAULT_RULES):
        ours = values_and_gradients(lambda *a: splash_attention(*a, rule, current_context(), interpret=True), arrays)
    assert_same(ours, reference)
