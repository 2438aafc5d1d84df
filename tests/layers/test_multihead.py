"""The attention module against the formula: projections, cross-attention, segments, and the cache."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from genjax.layers.cache import init_cache
from genjax.layers.multihead import MultiHeadAttention
from tests.layers.attention_reference import formula


def made(module, *inputs):
    """Parameters off their initial values, as float64 arrays."""
    rng = np.random.default_rng(1)
    params = nn.unbox(module.init(jax.random.key(0), *inputs))["params"]
    return jax.tree.map(lambda leaf: rng.normal(size=leaf.shape) * 0.3, params)


def expected_of(params, x, source, allowed, scale=None):
    def project(name, inputs):
        return np.einsum("BTD,DHK->BTHK", inputs, params[name]["kernel"]) + params[name].get("bias", 0)

    query, key, value = project("query", x), project("key", source), project("value", source)
    out = formula(query, key, value, np.zeros_like(query), allowed, scale=scale)["out"]
    return np.einsum("BTHK,HKD->BTD", out, params["out"]["kernel"]) + params["out"].get("bias", 0)


def apply(module, params, *inputs, **options):
    variables = {"params": jax.tree.map(np.float32, params)}
    return jax.jit(lambda *arrays: module.apply(variables, *arrays, **options))(*inputs)


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("scale", [None, 1.0])
def test_self_attention_with_grouped_queries(use_bias, scale):
    module = MultiHeadAttention(4, 2, 8, causal=True, use_bias=use_bias, scale=scale)
    x = np.random.default_rng(0).normal(size=(2, 5, 12)).astype(np.float32)
    params = made(module, x)
    assert all(("bias" in projection) == use_bias for projection in params.values())
    out, cache = apply(module, params, x)
    assert cache is None
    allowed = np.tril(np.ones((5, 5), bool))[None, None]
    np.testing.assert_allclose(out, expected_of(params, x, x, allowed, scale), atol=2e-5)


def test_cross_attention_reads_keys_and_values_from_the_context():
    """The context has its own length, width and segments: padding of the context is not seen."""
    module = MultiHeadAttention(4, 4, 8, causal=False)
    rng = np.random.default_rng(0)
    x, context = rng.normal(size=(2, 5, 12)).astype(np.float32), rng.normal(size=(2, 7, 20)).astype(np.float32)
    params = made(module, x, context)
    assert params["key"]["kernel"].shape == (20, 4, 8) and params["query"]["kernel"].shape == (12, 4, 8)
    x_ids, context_ids = np.ones((2, 5), np.int32), np.array([[1] * 7, [1] * 3 + [0] * 4], np.int32)
    out, _ = apply(module, params, x, context, segment_ids=x_ids, context_segment_ids=context_ids)
    np.testing.assert_allclose(out, expected_of(params, x, context, context_ids[:, None, None] == 1), atol=2e-5)


@pytest.mark.parametrize("stacked", [False, True])
def test_a_cache_continues_where_it_ended(stacked):
    module = MultiHeadAttention(4, 2, 8, causal=True)
    x = np.random.default_rng(0).normal(size=(2, 6, 12)).astype(np.float32)
    params = made(module, x)
    cache = init_cache(3, 2, 9, 2, 8, stacked=stacked, start=jnp.array([0, 2]))
    parts = []
    for piece in (slice(0, 4), slice(4, 5), slice(5, 6)):
        out, cache = apply(module, params, x[:, piece], cache=cache, layer=1)
        cache = cache.advance(piece.stop - piece.start)
        parts.append(out)
    allowed = np.tril(np.ones((2, 1, 6, 6), bool))
    allowed[1, :, :, :2] = False
    out, expected = np.concatenate(parts, 1), expected_of(params, x, x, allowed)
    np.testing.assert_allclose(out[0], expected[0], atol=2e-5)
    np.testing.assert_allclose(out[1, 2:], expected[1, 2:], atol=2e-5)
