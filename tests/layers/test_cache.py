"""What a cache remembers: slots, positions, padding; layers in a tuple or stacked."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from genjax.layers.cache import init_cache, write
from genjax.parallel.mesh import MeshConfig, make_mesh
from genjax.parallel.rules import context

SHAPE = {"num_layers": 3, "batch": 2, "length": 6, "kv_heads": 2, "head_dim": 4}


def test_shapes_of_both_forms():
    """Heads come before slots."""
    separate, stacked = init_cache(**SHAPE), init_cache(**SHAPE, stacked=True, dtype=jnp.bfloat16)
    assert [x.shape for x in separate.key] == [x.shape for x in separate.value] == [(2, 2, 6, 4)] * 3
    assert stacked.key.shape == stacked.value.shape == (3, 2, 2, 6, 4)
    assert stacked.key.dtype == jnp.bfloat16 and separate.key[0].dtype == jnp.float32
    assert separate.slots == stacked.slots == 6
    np.testing.assert_array_equal(separate.start, [0, 0])
    assert separate.index == 0


def test_positions_and_segments_start_after_the_padding():
    cache = init_cache(**SHAPE, start=jnp.array([0, 2]))
    np.testing.assert_array_equal(cache.positions(4), [[0, 1, 2, 3], [0, 0, 0, 1]])
    query, key = cache.segment_ids(4)
    np.testing.assert_array_equal(query, [[1, 1, 1, 1], [0, 0, 1, 1]])
    np.testing.assert_array_equal(key, [[1, 1, 1, 1, 1, 1], [0, 0, 1, 1, 1, 1]])
    cache = cache.advance(4)
    assert cache.index == 4
    np.testing.assert_array_equal(cache.positions(1), [[4], [2]])
    query, key = cache.segment_ids(1)
    np.testing.assert_array_equal(query, [[1], [1]])
    np.testing.assert_array_equal(key, [[1, 1, 1, 1, 1, 1], [0, 0, 1, 1, 1, 1]])


@pytest.mark.parametrize("stacked", [False, True])
def test_writing_touches_the_layer_and_the_slots_it_names_only(stacked):
    rng = np.random.default_rng(0)
    key, value = rng.normal(size=(2, 2, 3, 2, 4)).astype(np.float32)
    cache = init_cache(**SHAPE, stacked=stacked).advance(2)
    new, keys, values = jax.jit(write, static_argnums=() if stacked else (1,))(cache, 1, key, value)
    for stored, whole, added in ((new.key, keys, key), (new.value, values, value)):
        expected = np.zeros((3, 2, 2, 6, 4), np.float32)
        expected[1, :, :, 2:5] = added.swapaxes(1, 2)
        np.testing.assert_array_equal(np.stack(stored), expected)
        np.testing.assert_array_equal(whole, expected[1])
    assert new.index == 2  # a layer writes; the stack advances when all have
    assert isinstance(new.key, tuple) == (not stacked)


def test_what_is_written_gets_the_caches_dtype():
    cache = init_cache(**SHAPE, dtype=jnp.bfloat16)
    new, keys, _ = write(cache, 0, jnp.ones((2, 1, 2, 4)), jnp.ones((2, 1, 2, 4)))
    assert keys.dtype == new.key[0].dtype == jnp.bfloat16


@pytest.mark.parametrize("stacked", [False, True])
def test_a_mesh_splits_rows_and_key_heads(cpu_devices, stacked):
    with context(make_mesh(MeshConfig(data=2, fsdp=2, tensor=2), cpu_devices)):
        cache = jax.jit(lambda: init_cache(**{**SHAPE, "batch": 4}, stacked=stacked))()
    spec = P(("data", "fsdp"), "tensor")
    arrays = [cache.key, cache.value] if stacked else [*cache.key, *cache.value]
    for array in arrays:
        assert array.sharding.spec == (P(None, *spec) if stacked else spec)
