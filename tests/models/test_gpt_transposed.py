"""Second copies of the kernels give the same numbers, and are what decoding reads."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from genjax.layers.linear import TRANSPOSED
from genjax.models.gpt import GPT, GPTConfig, transposed_copies

SMALL = GPTConfig(vocab_size=40, context_length=24, num_layers=2, num_heads=4, num_kv_heads=2, embed_dim=16, init_std=0.3)


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("tie", [True, False])
@pytest.mark.parametrize("gated", [True, False])
def test_transposed_copies_change_no_logit(rows, tie, gated):
    model = GPT(dataclasses.replace(SMALL, tie_embeddings=tie, gated=gated))
    tokens = jnp.asarray(np.random.default_rng(0).integers(0, 40, (rows, 1)), jnp.int32)
    params = nn.unbox(jax.jit(model.init)(jax.random.key(0), tokens))["params"]
    plain = jax.jit(model.apply)({"params": params}, tokens)
    copies = transposed_copies(params)
    np.testing.assert_allclose(jax.jit(model.apply)({"params": params, TRANSPOSED: copies}, tokens), plain, atol=1e-5)
    # One row reads the kernels' copies, and several rows that of a tied table: with other copies the logits are others.
    doubled = jax.jit(model.apply)({"params": params, TRANSPOSED: jax.tree.map(lambda x: 2 * x, copies)}, tokens)
    assert (float(jnp.abs(doubled - plain).max()) > 0.1) == (rows == 1 or tie)


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("tie", [True, False])
def test_logits_of_some_ids_are_those_of_all(rows, tie):
    model = GPT(dataclasses.replace(SMALL, tie_embeddings=tie))
    params = nn.unbox(jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 1), jnp.int32)))["params"]
    hidden = jax.random.normal(jax.random.key(1), (rows, 1, 16))
    for variables in ({"params": params}, {"params": params, TRANSPOSED: transposed_copies(params)}):
        every = model.apply(variables, hidden, method="logits")
        some = model.apply(variables, hidden, slice(7, 31), method="logits")
        np.testing.assert_allclose(some, every[..., 7:31], atol=1e-5)
        assert some.shape == (rows, 1, 24)


def test_copies_have_the_transposed_shapes():
    params = nn.unbox(jax.jit(GPT(SMALL).init)(jax.random.key(0), jnp.zeros((1, 1), jnp.int32)))["params"]
    copies = transposed_copies(params)
    assert copies["blocks_1"]["attention"]["key"]["kernel"].shape == (2, 4, 16)
    assert copies["blocks_1"]["attention"]["out"]["kernel"].shape == (16, 4, 4)
    assert copies["blocks_0"]["mlp"]["up"]["kernel"].shape == (64, 16)
    assert copies["token_embed"]["embedding"].shape == (16, 40)
