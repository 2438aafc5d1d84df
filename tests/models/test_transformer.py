"""Stacks of blocks: what rematerialization computes again, dropout within it, stacking and unstacking."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from genjax.errors import ConfigError
from genjax.models.gpt import GPT, GPTConfig, flops_per_token
from genjax.models.transformer import REMAT_POLICIES, stack_blocks, unstack_blocks
from genjax.parallel.mesh import MeshConfig, make_mesh
from genjax.parallel.rules import context
from tests.models.gpt_cases import CASES, GPT2, LLAMA, draw_tokens, parameters

TOKENS = draw_tokens(GPT2, 2, 12)


def loss(params, config, key=None):
    rngs = None if key is None else {"dropout": key}
    logits = GPT(config).apply({"params": params}, TOKENS, deterministic=key is None, rngs=rngs)
    return jnp.mean(jax.nn.logsumexp(logits, -1) ** 2)


def products(policy):
    """Matrix products in the gradient's program, before the compiler."""
    config = replace(GPT2, remat=policy, attention="xla")
    return str(jax.make_jaxpr(jax.grad(loss), static_argnums=1)(parameters(GPT2), config)).count("dot_general")


@pytest.mark.parametrize(
    ("devices", "policy", "again"),
    [
        # A block has query, key, value, two products of attention, out, up and down; the backward pass needs all but down.
        (1, "full", 7),
        (2, "full", 7),
        (1, "attention", 6),
        (2, "attention", 6),
        (1, "dots", 2),
        (2, "dots", 2),
        (1, "dots_and_attention", 1),
        (2, "dots_and_attention", 1),
    ],
)
def test_policies_compute_again_what_they_say(cpu_devices, devices, policy, again):
    with context(make_mesh(MeshConfig(), cpu_devices[:devices])):
        assert products(policy) - products("none") == again * GPT2.num_layers


def test_every_policy_is_counted_above():
    assert set(REMAT_POLICIES) == {"none", "full", "attention", "dots", "dots_and_attention"}


@pytest.mark.parametrize("scan", [False, True])
@pytest.mark.parametrize("policy", ["full", "dots"])
def test_dropout_draws_the_same_when_computed_again(scan, policy):
    """Else gradients would belong to another network than the loss."""
    config = replace(GPT2, dropout=0.3, scan_layers=scan)
    params, key = parameters(replace(GPT2, scan_layers=scan)), jax.random.key(3)
    step = jax.jit(jax.value_and_grad(loss), static_argnums=1)
    kept, again = step(params, config, key), step(params, replace(config, remat=policy), key)
    for own, other in zip(jax.tree.leaves(again), jax.tree.leaves(kept), strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_gradients_of_scanned_and_unrolled_layers(case):
    scanned, unrolled = (replace(CASES[case], scan_layers=scan) for scan in (True, False))
    params = parameters(unrolled)
    step = jax.jit(jax.value_and_grad(loss), static_argnums=1)
    value, gradient = step(stack_blocks(params), scanned)
    expected, expected_gradient = step(params, unrolled)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    own = unstack_blocks(gradient)
    assert jax.tree.structure(own) == jax.tree.structure(dict(expected_gradient))
    for name in expected_gradient:
        for one, other in zip(jax.tree.leaves(own[name]), jax.tree.leaves(expected_gradient[name]), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_layers_are_stacked_in_the_order_of_their_numbers():
    """blocks_10 comes after blocks_9."""
    params = {f"blocks_{i}": {"scale": jnp.full(3, i)} for i in range(12)} | {"head": jnp.ones(2)}
    stacked = stack_blocks(params)
    np.testing.assert_array_equal(stacked["blocks"]["scale"][:, 0], np.arange(12))
    again = unstack_blocks(stacked)
    assert jax.tree.structure(again) == jax.tree.structure(params)
    jax.tree.map(np.testing.assert_array_equal, again, params)


@pytest.mark.parametrize("scan", [False, True])
def test_tables_heads_norms_and_biases_begin_as_gpt2s(scan):
    shape = {"vocab_size": 400, "context_length": 200, "num_layers": 8, "num_heads": 2, "embed_dim": 64}
    config = GPTConfig(**shape, tie_embeddings=False, scan_layers=scan)
    params = nn.unbox(jax.jit(GPT(config).init)(jax.random.key(0), jnp.zeros((1, 4), jnp.int32)))["params"]
    for path, leaf in jax.tree_util.tree_flatten_with_path(params)[0]:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        if name.endswith("scale"):
            np.testing.assert_array_equal(leaf, 1, err_msg=name)
        elif name.endswith("bias"):
            np.testing.assert_array_equal(leaf, 0, err_msg=name)
        else:
            residual = "/out/" in name or "/down/" in name
            expected = 0.02 / (2 * 8) ** 0.5 if residual else 0.02
            # 4,096 draws or more: their standard deviation is known to 1.1 %.
            assert float(leaf.std()) == pytest.approx(expected, rel=0.045), name
            assert abs(float(leaf.mean())) < 5 * expected / leaf.size**0.5, name


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"remat": "ful"}, "remat 'ful' is not known; did you mean 'full'"),
        ({"activation": "gelu_tan"}, "activation 'gelu_tan' is not known; did you mean 'gelu_tanh'"),
        ({"attention": "splash"}, "attention 'splash' is a TPU kernel, but this program is for cpu"),
    ],
)
def test_settings_that_are_found_wrong_when_the_model_is_built(changes, message):
    with pytest.raises(ConfigError, match=message):
        jax.eval_shape(GPT(replace(GPT2, **changes)).init, jax.random.key(0), TOKENS)


def test_flops_counted_by_hand():
    """LLAMA: D=32, H=8 of width 4, G=2, F=48, V=64, two layers, 10 tokens."""
    query_and_out, key_and_value, mlp, head = 2 * 32 * 32, 2 * 32 * 8, 3 * 32 * 48, 32 * 64
    kernels = 2 * (query_and_out + key_and_value + mlp) + head
    # A query and a key: 2 * 4 operations for the score and 2 * 4 for the value in each head; the backward pass does twice that.
    pair = 3 * (2 * 4 + 2 * 4) * 8 * 2
    assert flops_per_token(LLAMA, 10, causal_half=False) == 6 * kernels + pair * 10
    assert flops_per_token(LLAMA, 10) == 6 * kernels + pair * 5
    # A window of 4 in the area under the diagonal: a triangle of 4 * 4 / 2, then 6 rows of 4.
    assert flops_per_token(replace(LLAMA, sliding_window=4), 10) == 6 * kernels + pair * (8 + 24) / 10
    assert flops_per_token(replace(LLAMA, sliding_window=4), 10, causal_half=False) == 6 * kernels + pair * 4
