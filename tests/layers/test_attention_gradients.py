"""Every implementation that runs on a CPU against the formula in float64 and the formula's gradients."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.errors import ConfigError
from genjax.layers.attention import attention
from genjax.layers.attention_dense import chunked_attention
from genjax.layers.attention_mask import Masking
from genjax.parallel.mesh import MeshConfig, make_mesh
from genjax.parallel.rules import constrain, context
from tests.layers.attention_reference import Case, draw, draw_segments, formula, visible

# Lengths beside the borders of the blocks (64 queries) and chunks (512 queries).
CASES = {
    "one_token": Case(length=1),
    "causal_70": Case(),
    "gqa_200": Case(length=200, kv_heads=2),
    "mqa_129": Case(length=129, kv_heads=1, causal=False),
    "window_200": Case(length=200, window=50),
    "window_of_one": Case(window=1, kv_heads=2),
    "segments_window_gqa_600": Case(length=600, kv_heads=2, window=90, segments=True, head_dim=4),
    "causal_600": Case(batch=1, length=600, heads=2, kv_heads=1, head_dim=4),
    "cross_70_33": Case(length=70, keys=33, causal=False, kv_heads=2),
    "cross_65_200": Case(length=65, keys=200, causal=False),
    "many_heads_600": Case(length=600, heads=8, kv_heads=4, head_dim=2),  # worked on in groups of heads
}


def plainly_chunked(query, key, value, *, causal, sliding_window, query_segment_ids, key_segment_ids):
    """The chunks of queries that meshes use, without a mesh."""
    masking = Masking(causal, sliding_window, query_segment_ids, key_segment_ids, None, 0)
    return chunked_attention(query * query.shape[-1] ** -0.5, key, value, masking)


IMPLEMENTATIONS = {
    "xla": functools.partial(attention, implementation="xla"),
    "chunked": plainly_chunked,
    "blocked": functools.partial(attention, implementation="chunked"),  # on one CPU device
}


@functools.cache
def answers(name):
    """A case's arrays and segments, and what the formula says."""
    case = CASES[name]
    drawn = draw(case)
    ids = draw_segments(case) if case.segments else (None, None)
    return drawn, ids, formula(**drawn, allowed=visible(case, *ids))


def check(function, drawn, expected, atol=2e-5):
    """Values and gradients of `function(query, key, value)`. Gradients of keys add up some hundreds of terms."""
    inputs = [drawn[name] for name in ("query", "key", "value")]

    @jax.jit
    def both(*inputs):
        out, pullback = jax.vjp(function, *inputs)
        return out, *pullback(drawn["gradient"])

    for name, found in zip(("out", "query", "key", "value"), both(*inputs), strict=True):
        assert found.dtype == jnp.float32
        np.testing.assert_allclose(found, expected[name], atol=atol, rtol=1e-5, err_msg=name)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients_are_the_formulas(implementation, name):
    case = CASES[name]
    drawn, ids, expected = answers(name)
    masks = {"causal": case.causal, "sliding_window": case.window, "query_segment_ids": ids[0], "key_segment_ids": ids[1]}
    check(lambda *inputs: IMPLEMENTATIONS[implementation](*inputs, **masks), drawn, expected)


@pytest.mark.parametrize("name", ["gqa_200", "mqa_129", "segments_window_gqa_600", "many_heads_600"])
def test_one_mask_for_all_rows_and_heads(name):
    """As DALL-E's patterns are, on one CPU device; it is one of several, chosen by a traced number."""
    case = CASES[name]
    drawn, ids, _ = answers(name)
    masks = np.random.default_rng(1).random((3, 1, 1, case.length, case.keys or case.length)) < 0.7
    masks |= np.eye(*masks.shape[-2:], dtype=bool)
    rules = {"causal": case.causal, "sliding_window": case.window, "query_segment_ids": ids[0], "key_segment_ids": ids[1]}
    expected = formula(**drawn, allowed=visible(case, *ids) & masks[1])

    def function(query, key, value):
        which = jnp.asarray([1, 0])[(query[0, 0, 0, 0] > 1e9).astype(jnp.int32)]
        return attention(query, key, value, **rules, mask=jnp.asarray(masks)[which], implementation="chunked")

    check(function, drawn, expected)


@pytest.mark.parametrize("implementation", ["xla", "chunked"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 4), (2, 1), (2, 4)])
def test_bias_and_mask_of_every_broadcast_shape(implementation, shape):
    case = Case(length=37, keys=45, causal=False, kv_heads=2)
    drawn = draw(case)
    rng = np.random.default_rng(1)
    bias = rng.normal(size=(*shape, 37, 45)).astype(np.float32)
    mask = rng.random((*shape, 37, 45)) < 0.7
    expected = formula(**drawn, allowed=mask, bias=bias, scale=1.0)

    def function(bias, query, key, value):
        return attention(query, key, value, causal=False, bias=bias, mask=mask, scale=1.0, implementation=implementation)

    check(functools.partial(function, bias), drawn, expected)
    inputs = [drawn[name] for name in ("query", "key", "value")]
    gradient = jax.jit(jax.grad(lambda bias: jnp.sum(function(bias, *inputs) * drawn["gradient"])))(bias)
    summed = tuple(axis for axis in (0, 1) if shape[axis] == 1)
    np.testing.assert_allclose(gradient, expected["bias"].sum(summed, keepdims=True), atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("devices", [1, 8])
@pytest.mark.parametrize("length", [1, 70, 530])
def test_queries_of_a_cache_start_where_it_ends(cpu_devices, devices, length):
    """A cache stores heads before slots, and where its queries stand is known only at run time."""
    case = Case(length=length, keys=600, kv_heads=2, window=100, head_dim=4)
    drawn = draw(case)
    ids = np.ones((2, length), np.int32), np.ones((2, 600), np.int32)
    ids[1][1, :40] = 0  # the second row is padded on its left
    expected = formula(**drawn, allowed=visible(case, *ids, offset=60))["out"]

    @jax.jit
    def run(offset):
        return attention(
            drawn["query"],
            drawn["key"].swapaxes(1, 2),
            drawn["value"].swapaxes(1, 2),
            causal=True,
            sliding_window=100,
            query_segment_ids=ids[0],
            key_segment_ids=ids[1],
            query_offset=offset,
            cached=True,
        )

    with context(make_mesh(MeshConfig(), cpu_devices[:devices])):
        np.testing.assert_allclose(run(60), expected, atol=1e-5)


@pytest.mark.parametrize("implementation", ["xla", "chunked"])
def test_a_query_that_sees_nothing_is_finite_and_disturbs_no_other(implementation):
    """Queries 3 to 9 have a segment without keys; when the loss ignores them, gradients are those of the others."""
    case = Case(length=70, keys=33, causal=False)
    drawn = draw(case)
    query_ids, key_ids = np.ones((2, 70), np.int32), np.ones((2, 33), np.int32)
    query_ids[:, 3:10] = 7
    drawn["gradient"][:, 3:10] = 0
    expected = formula(**drawn, allowed=visible(case, query_ids, key_ids))

    def function(query, key, value):
        masks = {"causal": False, "query_segment_ids": query_ids, "key_segment_ids": key_ids}
        out = attention(query, key, value, **masks, implementation=implementation)
        blind = out[:, 3:10]
        finite = jnp.isfinite(blind).all()
        return out.at[:, 3:10].set(jnp.where(finite, 0 * blind, jnp.nan))

    check(function, drawn, expected)


@pytest.mark.parametrize("implementation", ["xla", "chunked"])
def test_a_query_that_sees_nothing_passes_no_gradient_to_queries_and_keys(implementation):
    drawn = draw(Case(length=70, keys=130, causal=False))
    query_ids, key_ids = np.ones((2, 70), np.int32), np.ones((2, 130), np.int32)
    query_ids[:, 3:10] = 7
    expected = formula(**drawn, allowed=(query_ids[:, :, None] == key_ids[:, None, :])[:, None])

    def function(query, key):
        masks = {"causal": False, "query_segment_ids": query_ids, "key_segment_ids": key_ids}
        return attention(query, key, drawn["value"], **masks, implementation=implementation)

    _, pullback = jax.vjp(function, drawn["query"], drawn["key"])
    for name, found in zip(("query", "key"), pullback(drawn["gradient"]), strict=True):
        np.testing.assert_allclose(found, expected[name], atol=2e-5, rtol=1e-5, err_msg=name)


@pytest.mark.parametrize("devices", [1, 8])
@pytest.mark.parametrize("implementation", ["auto", "xla", "chunked"])
def test_an_offset_known_only_at_run_time(cpu_devices, implementation, devices):
    """As in a chunk of a longer sequence: queries start at key 40."""
    case = Case(length=530, keys=600, kv_heads=2, window=100, head_dim=4)
    drawn = draw(case)
    expected = formula(**drawn, allowed=visible(case, offset=40))["out"]

    @jax.jit
    def run(offset):
        masks = {"causal": True, "sliding_window": 100, "query_offset": offset, "implementation": implementation}
        return attention(drawn["query"], drawn["key"], drawn["value"], **masks)

    with context(make_mesh(MeshConfig(), cpu_devices[:devices])):
        np.testing.assert_allclose(run(40), expected, atol=1e-5)
        np.testing.assert_allclose(jax.jit(lambda: run(40))(), expected, atol=1e-5)


MESHES = {
    "data": MeshConfig(data=8),
    "tensor": MeshConfig(data=2, tensor=4),  # two key heads do not divide over four
    "sequence": MeshConfig(data=1, sequence=8),
    "all": MeshConfig(data=2, sequence=2, tensor=2),
}


@pytest.mark.parametrize("implementation", ["xla", "chunked"])
@pytest.mark.parametrize("mesh", MESHES)
def test_a_mesh_of_eight_devices_changes_nothing(cpu_devices, implementation, mesh):
    case = Case(batch=8, length=72, kv_heads=2, window=20, segments=True, head_dim=4)
    drawn, ids = draw(case), draw_segments(case)
    expected = formula(**drawn, allowed=visible(case, *ids))
    masks = {"causal": True, "sliding_window": 20, "query_segment_ids": ids[0], "key_segment_ids": ids[1]}

    def function(query, key, value):
        names = ("activation_batch", "activation_length")
        query = constrain(query, *names, "activation_heads", None)
        key, value = (constrain(x, *names, "activation_kv_heads", None) for x in (key, value))
        out = attention(query, key, value, **masks, implementation=implementation)
        return constrain(out, *names, "activation_heads", None)

    with context(make_mesh(MESHES[mesh], cpu_devices)):
        check(function, drawn, expected)


def test_chunks_hold_no_more_than_their_own_weights():
    """The weights of 1,100 causal queries, chunk by chunk, never exist as a whole."""
    x = jnp.zeros((1, 1100, 1, 4))
    masking = Masking(True, 0, None, None, None, 0)
    text = str(jax.make_jaxpr(lambda x: chunked_attention(x, x, x, masking))(x))
    assert "1,1,1,512,512]" in text and "1,1,1,512,1024]" in text and "1,1,1,76,1100]" in text
    assert "1,1,1,1100,1100]" not in text


@pytest.mark.parametrize(
    ("kwargs", "kv_heads", "error", "message"),
    [
        ({"causal": False, "sliding_window": 4}, 4, ConfigError, "sliding_window 4 needs causal attention"),
        ({"causal": True}, 3, ConfigError, "4 query heads are not a multiple of 3 key heads"),
        ({"causal": True, "query_segment_ids": np.ones((2, 5), np.int32)}, 4, ValueError, "together or not at all"),
    ],
)
def test_what_cannot_be_asked(kwargs, kv_heads, error, message):
    x, keys = jnp.zeros((2, 5, 4, 8)), jnp.zeros((2, 5, kv_heads, 8))
    with pytest.raises(error, match=message):
        attention(x, keys, keys, **kwargs)
