"""Attention against the formula in numpy, whichever way it is computed, and what masks must never let through."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.errors import ConfigError
from genjax.layers.attention import attention, choose_implementation
from genjax.parallel.mesh import MeshConfig, make_mesh
from genjax.parallel.rules import context

WAYS = ("xla", "chunked", "chunked on a mesh")


def compute(way, mesh_devices, function, *arrays):
    """Runs `function(implementation, *arrays)`; on a mesh, "chunked" is another algorithm than on one CPU."""
    if way != "chunked on a mesh":
        return jax.jit(lambda *a: function(way, *a))(*arrays)
    with context(make_mesh(MeshConfig(data=2, tensor=2), mesh_devices[:4])):
        return jax.jit(lambda *a: function("chunked", *a))(*arrays)


def formula(query, key, value, allowed, bias=0.0, scale=None):
    """Vaswani et al., 2017, equation 1, a head at a time, in float64."""
    query, key, value = (np.asarray(x, np.float64) for x in (query, key, value))
    heads, repeats = query.shape[2], query.shape[2] // key.shape[2]
    out = np.zeros_like(query)
    bias, allowed = (np.broadcast_to(x, (query.shape[0], heads, query.shape[1], key.shape[1])) for x in (bias, allowed))
    for b in range(query.shape[0]):
        for h in range(heads):
            logits = query[b, :, h] @ key[b, :, h // repeats].T * (query.shape[-1] ** -0.5 if scale is None else scale)
            logits = np.where(allowed[b, h], logits + bias[b, h], -np.inf)
            weights = np.exp(logits - logits.max(-1, keepdims=True))
            out[b, :, h] = weights / weights.sum(-1, keepdims=True) @ value[b, :, h // repeats]
    return out


def operands(batch=2, length=12, keys=12, heads=4, kv_heads=4, head_dim=8, seed=0):
    random = np.random.default_rng(seed)
    shapes = ((batch, length, heads, head_dim), (batch, keys, kv_heads, head_dim), (batch, keys, kv_heads, head_dim))
    return [jnp.asarray(random.standard_normal(shape), jnp.float32) for shape in shapes]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kv_heads", [4, 2, 1], ids=["MHA", "GQA", "MQA"])
@pytest.mark.parametrize("kind", ["bidirectional", "causal", "sliding", "segments", "mask", "bias", "cross", "unscaled"])
def test_attention_is_the_formula(cpu_devices, way, kv_heads, kind):
    keys = 20 if kind == "cross" else 12
    arrays = operands(keys=keys, kv_heads=kv_heads)
    query_index, key_index = np.arange(12)[:, None], np.arange(keys)[None, :]
    allowed, options, reference = np.ones((12, keys), bool), {"causal": kind not in ("bidirectional", "cross")}, {}
    if options["causal"]:
        allowed = key_index <= query_index
    random = np.random.default_rng(1)
    if kind == "sliding":
        options["sliding_window"], allowed = 3, allowed & (key_index > query_index - 3)
    if kind == "segments":
        ids = jnp.asarray([[1] * 5 + [2] * 4 + [0] * 3, [1] * 12], jnp.int32)
        options |= {"query_segment_ids": ids, "key_segment_ids": ids}
        allowed = allowed & (np.asarray(ids)[:, None, :, None] == np.asarray(ids)[:, None, None, :])
    if kind == "mask":
        mask = random.random((2, 1, 12, 12)) < 0.5
        mask |= np.eye(12, dtype=bool)
        options["mask"], allowed = jnp.asarray(mask), allowed & mask
    if kind == "bias":
        bias = random.standard_normal((1, 4, 12, 12)).astype(np.float32)
        options["bias"], reference["bias"] = jnp.asarray(bias), bias
    if kind == "unscaled":
        options["scale"] = reference["scale"] = 1.0
    out = compute(way, cpu_devices, lambda how, *a: attention(*a, implementation=how, **options), *arrays)
    np.testing.assert_allclose(out, formula(*arrays, allowed, **reference), atol=2e-6)


@pytest.mark.parametrize("way", WAYS[1:])
@pytest.mark.parametrize("length", [200, 1300])
@pytest.mark.parametrize("window", [0, 70])
def test_chunks_leave_no_seam(cpu_devices, way, length, window):
    """Values and gradients of several chunks, the last of them short, equal those computed all at once."""
    arrays = operands(1, length, length, 4, 2, 4)
    ids = jnp.asarray(1 + (np.arange(length) > length // 3)[None], jnp.int32)

    def loss(how, *a):
        out = attention(*a, causal=True, sliding_window=window, query_segment_ids=ids, key_segment_ids=ids, implementation=how)
        return jnp.sum(jnp.sin(out)), out

    def value_and_gradient(how, *a):
        return jax.value_and_grad(lambda *b: loss(how, *b), argnums=(0, 1, 2), has_aux=True)(*a)

    (_, out), gradients = compute(way, cpu_devices, value_and_gradient, *arrays)
    (_, expected), expected_gradients = compute("xla", cpu_devices, value_and_gradient, *arrays)
    np.testing.assert_allclose(out, expected, atol=2e-6)
    for own, other in zip(gradients, expected_gradients, strict=True):
        np.testing.assert_allclose(own, other, atol=2e-5)


def test_gradient_reaches_a_bias_in_chunks():
    """T5's relative bias is learned."""
    arrays = operands(1, 1100, 1100, 2, 2, 4)
    bias = jnp.asarray(np.random.default_rng(0).standard_normal((1, 2, 1100, 1100)), jnp.float32)

    def gradient(how):
        return jax.jit(jax.grad(lambda b: jnp.sum(jnp.sin(attention(*arrays, causal=False, bias=b, implementation=how)))))(bias)

    np.testing.assert_allclose(gradient("chunked"), gradient("xla"), atol=2e-6)


@pytest.mark.parametrize("way", WAYS)
def test_a_token_never_sees_the_future_nor_another_document(cpu_devices, way):
    query, key, value = operands(1)
    ids = jnp.asarray([[1] * 4 + [2] * 5 + [0] * 3], jnp.int32)

    def run(key, value):
        return compute(
            way,
            cpu_devices,
            lambda how, *a: attention(*a, causal=True, query_segment_ids=ids, key_segment_ids=ids, implementation=how),
            *(query, key, value),
        )

    before = run(key, value)
    for changed in (0, 6, 11):
        new = run(key.at[:, changed].set(1e3), value.at[:, changed].set(1e3))
        same_document = (np.asarray(ids[0]) == int(ids[0, changed])) & (np.arange(12) >= changed)
        moved = np.abs(np.asarray(new - before)).max(axis=(0, 2, 3)) > 0
        np.testing.assert_array_equal(moved, same_document)


def test_a_query_that_sees_nothing_is_finite():
    arrays = operands(1)
    out = attention(*arrays, causal=True, mask=jnp.zeros((1, 1, 12, 12), bool), implementation="xla")
    assert bool(jnp.isfinite(out).all())


def test_bfloat16_is_close_and_stays_bfloat16():
    arrays = operands()
    out = attention(*(a.astype(jnp.bfloat16) for a in arrays), causal=True)
    assert out.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.asarray(out, np.float32), attention(*arrays, causal=True), atol=0.03)


def choice(**changes):
    settings = {"query_length": 2048, "key_length": 2048, "head_dim": 64, "dtype": jnp.bfloat16, "platform": "tpu"}
    return choose_implementation(changes.pop("requested", "auto"), **(settings | changes))


def test_the_platform_chooses():
    assert choice().implementation == "splash"
    assert choice(query_length=64, key_length=64).implementation == "xla"
    assert choice(dense_bias=True) == ("chunked", "splash takes no bias")
    assert choice(query_length=1).implementation == "xla"
    assert choice(platform="gpu").implementation == "cudnn"
    assert choice(platform="gpu", dtype=jnp.float32).implementation == "chunked"
    assert choice(platform="gpu", head_dim=192).reason == "cuDNN takes head_dim up to 128 in steps of 8, not 192"
    assert choice(platform="cpu").implementation == "chunked"
    assert choice(requested="xla") == ("xla", "requested")


def test_kernels_that_cannot_run_are_refused():
    with pytest.raises(ConfigError, match="'splash' is a TPU kernel, but this program is for cpu"):
        choice(requested="splash", platform="cpu")
    with pytest.raises(ConfigError, match="'cudnn' is a kernel for NVIDIA GPUs, but this program is for tpu"):
        choice(requested="cudnn")
    with pytest.raises(ConfigError, match="sliding_window 4 needs causal attention"):
        attention(*operands(), causal=False, sliding_window=4)
    with pytest.raises(ConfigError, match="4 query heads are not a multiple of 3 key heads"):
        attention(*operands(kv_heads=3), causal=False)
