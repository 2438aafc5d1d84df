"""GPT in all its dress against the formula in numpy, and what must not change its numbers."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from genjax.errors import ConfigError
from genjax.layers.cache import init_cache
from genjax.layers.position import RopeScaling
from genjax.models.gpt import GPT, GPTConfig
from genjax.models.transformer import stack_blocks, unstack_blocks
from tests.models.gpt_formula import logits as formula

SMALL = {"vocab_size": 40, "context_length": 24, "num_layers": 2, "num_heads": 4, "embed_dim": 16, "init_std": 0.3}
LLAMA = {
    "position": "rotary",
    "norm": "rmsnorm",
    "activation": "silu",
    "gated": True,
    "use_bias": False,
    "tie_embeddings": False,
    "num_kv_heads": 2,
    "mlp_dim": 24,
}
DRESSES = {
    "gpt2": {},
    "gpt1": {"norm_position": "post", "final_norm": False, "activation": "gelu"},
    "llama": LLAMA,
    "sliding, MQA, wide heads": {"sliding_window": 3, "num_kv_heads": 1, "head_dim": 6},
    "sinusoidal, relu, no bias": {"position": "sinusoidal", "activation": "relu", "use_bias": False},
    "no positions, gated gelu": {"position": "none", "gated": True, "activation": "gelu_tanh"},
}


@functools.cache
def made(**changes):
    """A model and variables in which no parameter is at its trivial initial value."""
    model = GPT(GPTConfig(**(SMALL | changes)))
    variables = nn.unbox(jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 4), jnp.int32)))
    leaves, structure = jax.tree.flatten(variables)
    random = np.random.default_rng(1)
    moved = [leaf + 0.1 * random.standard_normal(leaf.shape).astype(np.float32) for leaf in leaves]
    return model, jax.tree.unflatten(structure, [jnp.asarray(leaf) for leaf in moved])


def tokens_of(batch=2, length=12, seed=0):
    return jnp.asarray(np.random.default_rng(seed).integers(0, SMALL["vocab_size"], (batch, length)), jnp.int32)


def in_float64(variables):
    return jax.tree.map(lambda x: np.asarray(x, np.float64), variables["params"])


@pytest.mark.parametrize("dress", DRESSES)
def test_logits_are_the_formula(dress):
    model, variables = made(**DRESSES[dress])
    tokens = tokens_of()
    out = jax.jit(model.apply)(variables, tokens)
    assert out.dtype == jnp.float32
    expected = np.stack([formula(model.config, in_float64(variables), np.asarray(row)) for row in tokens])
    np.testing.assert_allclose(out, expected, atol=2e-5 * np.abs(expected).max())


@pytest.mark.parametrize("dress", ["gpt2", "llama", "sliding, MQA, wide heads"])
def test_packed_documents_do_not_know_of_each_other(dress):
    model, variables = made(**DRESSES[dress])
    tokens = tokens_of(1)
    ids = jnp.asarray([[1] * 4 + [2] * 5 + [0] * 3], jnp.int32)
    positions = jnp.asarray([[0, 1, 2, 3, 0, 1, 2, 3, 4, 0, 0, 0]], jnp.int32)
    packed = jax.jit(model.apply)(variables, tokens, segment_ids=ids, positions=positions)
    for start, stop in ((0, 4), (4, 9)):
        alone = jax.jit(model.apply)(variables, tokens[:, start:stop])
        np.testing.assert_allclose(packed[:, start:stop], alone, atol=2e-5)
    other_padding = tokens.at[:, 9:].set(7)
    unmoved = jax.jit(model.apply)(variables, other_padding, segment_ids=ids, positions=positions)
    np.testing.assert_array_equal(packed[:, :9], unmoved[:, :9])


@pytest.mark.parametrize("dress", ["gpt2", "llama"])
def test_scanned_layers_equal_unrolled_ones(dress):
    model, variables = made(**DRESSES[dress])
    scanned = GPT(GPTConfig(**(SMALL | DRESSES[dress] | {"scan_layers": True})))
    stacked = {"params": stack_blocks(variables["params"])}
    own = jax.eval_shape(lambda: nn.unbox(scanned.init(jax.random.key(0), tokens_of())))
    assert jax.tree.map(jnp.shape, stacked) == jax.tree.map(jnp.shape, own)
    np.testing.assert_allclose(
        jax.jit(scanned.apply)(stacked, tokens_of()), jax.jit(model.apply)(variables, tokens_of()), atol=1e-5
    )
    jax.tree.map(np.testing.assert_array_equal, unstack_blocks(stacked["params"]), dict(variables["params"]))


@pytest.mark.parametrize("scan", [False, True])
@pytest.mark.parametrize("remat", ["full", "attention", "dots", "dots_and_attention"])
def test_rematerialization_changes_no_number(scan, remat):
    def gradients(policy):
        model, variables = made(scan_layers=scan)
        model = GPT(GPTConfig(**(SMALL | {"scan_layers": scan, "remat": policy})))
        loss = lambda v: jnp.mean(jax.nn.logsumexp(model.apply(v, tokens_of()), axis=-1))  # noqa: E731
        return jax.jit(jax.value_and_grad(loss))(variables)

    for own, kept in zip(jax.tree.leaves(gradients(remat)), jax.tree.leaves(gradients("none")), strict=True):
        np.testing.assert_allclose(own, kept, atol=1e-6)


@pytest.mark.parametrize("scan", [False, True])
@pytest.mark.parametrize("dress", ["gpt2", "llama", "sliding, MQA, wide heads"])
def test_a_cache_gives_what_the_whole_sequence_gives(dress, scan):
    """Prompts of three lengths, left-padded, then one token at a time."""
    model, variables = made(**DRESSES[dress], scan_layers=scan)
    c, tokens, starts = model.config, np.asarray(tokens_of(3)), (0, 2, 5)
    whole = jax.jit(model.apply)(variables, tokens)
    rows = np.stack([np.concatenate([np.full(s, 9, np.int32), row])[:12] for s, row in zip(starts, tokens, strict=True)])
    cache = init_cache(c.num_layers, 3, 14, c.kv_heads, c.head_width, stacked=scan, start=jnp.asarray(starts, jnp.int32))
    step = jax.jit(lambda tokens, cache: model.apply(variables, tokens, cache=cache))
    logits, cache = step(rows[:, :7], cache)
    parts = [logits]
    for i in range(7, 12):
        logits, cache = step(rows[:, i : i + 1], cache)
        parts.append(logits)
    out = np.concatenate(parts, axis=1)
    assert int(cache.index) == 12
    for row, start in enumerate(starts):
        np.testing.assert_allclose(out[row, start:], whole[row, : 12 - start], atol=1e-5)


def test_a_prompt_may_be_read_in_pieces():
    model, variables = made(**LLAMA)
    c, tokens = model.config, tokens_of()
    cache = init_cache(c.num_layers, 2, 12, c.kv_heads, c.head_width)
    step = jax.jit(lambda tokens, cache: model.apply(variables, tokens, cache=cache))
    first, cache = step(tokens[:, :5], cache)
    second, _ = step(tokens[:, 5:], cache)
    whole = jax.jit(model.apply)(variables, tokens)
    np.testing.assert_allclose(np.concatenate([first, second], axis=1), whole, atol=1e-5)


@pytest.mark.parametrize("dress", ["gpt2", "llama"])
def test_bfloat16_computes_near_float32(dress):
    model, variables = made(**DRESSES[dress])
    half = GPT(GPTConfig(**(SMALL | DRESSES[dress] | {"dtype": "bfloat16"})))
    out, expected = jax.jit(half.apply)(variables, tokens_of()), jax.jit(model.apply)(variables, tokens_of())
    assert out.dtype == jnp.float32
    error = jnp.linalg.norm(out - expected) / jnp.linalg.norm(expected)
    assert error < 0.03  # bfloat16 has eight bits: 0.4 % in each operation
    gradient = jax.jit(jax.grad(lambda v: half.apply(v, tokens_of()).std()))(variables)
    assert {leaf.dtype for leaf in jax.tree.leaves(gradient)} == {jnp.dtype("float32")}


def test_dropout_acts_only_in_training():
    model, variables = made(dropout=0.5)
    still = jax.jit(model.apply)(variables, tokens_of())
    np.testing.assert_array_equal(still, jax.jit(made()[0].apply)(variables, tokens_of()))
    train = jax.jit(lambda key: model.apply(variables, tokens_of(), deterministic=False, rngs={"dropout": key}))
    one, two = train(jax.random.key(0)), train(jax.random.key(1))
    assert float(jnp.abs(one - two).max()) > 0.1 and float(jnp.abs(one - still).max()) > 0.1
    np.testing.assert_array_equal(one, train(jax.random.key(0)))


def test_initialization_is_that_of_gpt2():
    """Radford et al., 2019, section 2.3: residual projections are scaled by 1 / sqrt(number of residual layers)."""
    model = GPT(GPTConfig(vocab_size=512, num_layers=8, num_heads=4, embed_dim=128, scan_layers=True))
    params = nn.unbox(jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 4), jnp.int32)))["params"]
    block = params["blocks"]
    kernels = {"query": block["attention"]["query"], "up": block["mlp"]["up"]}
    for kernel in [*(k["kernel"] for k in kernels.values()), params["token_embed"]["embedding"]]:
        assert float(kernel.std()) == pytest.approx(0.02, rel=0.03)
    for kernel in (block["attention"]["out"]["kernel"], block["mlp"]["down"]["kernel"]):
        assert float(kernel.std()) == pytest.approx(0.02 / 4, rel=0.03)
        # Layers differ from each other.
        assert float(jnp.corrcoef(kernel[0].reshape(-1), kernel[1].reshape(-1))[0, 1]) == pytest.approx(0, abs=0.05)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"embed_dim": 18}, "embed_dim 18 does not divide over num_heads 4; use 16"),
        ({"num_kv_heads": 3}, "num_heads 4 is not a multiple of num_kv_heads 3"),
        ({"position": "rotary", "head_dim": 5}, "head_dim 5 must be even"),
        ({"rope_scaling": RopeScaling()}, "rope_scaling needs position 'rotary'"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"num_layers": 0}, "num_layers is 0; it must be 1 or more"),
        ({"sliding_window": -1}, "sliding_window is -1"),
    ],
)
def test_impossible_models_are_explained(changes, message):
    with pytest.raises(ConfigError, match=message):
        GPTConfig(**(SMALL | changes))


def test_more_tokens_than_the_context_are_refused():
    model, variables = made()
    with pytest.raises(ConfigError, match="25 tokens are more than the model's context_length 24"):
        model.apply(variables, jnp.zeros((1, 25), jnp.int32))
