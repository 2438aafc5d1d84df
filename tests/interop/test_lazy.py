"""Lazy arrays against numpy: every operation commutes with slicing, and reads no more than it needs."""

import jax
import ml_dtypes
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from genjax.errors import CheckpointError
from genjax.interop import lazy
from genjax.interop.lazy import LazyArray

X = np.arange(2 * 12 * 5, dtype=np.float32).reshape(2, 12, 5)

OPERATIONS = {
    "permute": (lambda a: lazy.permute(a, (2, 0, 1)), X.transpose(2, 0, 1)),
    "split first": (lambda a: lazy.split_axis(a, 0, (1, 2)), X.reshape(1, 2, 12, 5)),
    "split middle": (lambda a: lazy.split_axis(a, 1, (3, -1)), X.reshape(2, 3, 4, 5)),
    "split in three": (lambda a: lazy.split_axis(a, 1, (3, 2, 2)), X.reshape(2, 3, 2, 2, 5)),
    "merge": (lambda a: lazy.merge_axes(a, 1, 2), X.reshape(2, 60)),
    "merge first": (lambda a: lazy.merge_axes(a, 0, 2), X.reshape(24, 5)),
    "part": (lambda a: lazy.part(a, 1, 4, 6), X[:, 4:10]),
    "concatenate": (lambda a: lazy.concatenate([a, a, lazy.part(a, 1, 2, 3)], 1), np.concatenate([X, X, X[:, 2:5]], 1)),
    "grow": (lambda a: lazy.grow(a, 1, 15, 16), np.concatenate([X, X.mean(1, keepdims=True).repeat(3, 1)], 1)),
    "stack": (lambda a: lazy.stack([a, a, a]), np.stack([X, X, X])),
    "take": (lambda a: lazy.take(a, 1), X[1]),
    "cast": (lambda a: lazy.cast(a, "bfloat16"), X.astype(ml_dtypes.bfloat16)),
}


def random_index(rng, shape):
    starts = [int(rng.integers(0, n + 1)) for n in shape]
    return tuple(slice(start, int(rng.integers(start, n + 1))) for start, n in zip(starts, shape, strict=True))


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_reads_as_numpy_slices(name):
    operation, expected = OPERATIONS[name]
    array = operation(lazy.of_array(X))
    assert array.shape == expected.shape
    assert array.dtype == expected.dtype
    np.testing.assert_array_equal(array.load(), expected)
    rng = np.random.default_rng(0)
    for _ in range(200):
        index = random_index(rng, expected.shape)
        np.testing.assert_array_equal(array.read(index), expected[index])


def counting(array):
    """A lazy array and the list of the sizes that were read of it."""
    sizes = []

    def read(index):
        sizes.append(array[index].size)
        return array[index]

    return LazyArray(array.shape, array.dtype, read), sizes


def test_a_slice_of_heads_reads_those_heads_only():
    fused = np.zeros((8, 3 * 6 * 4), np.float32)
    source, sizes = counting(fused)
    query = lazy.split_axis(lazy.part(source, 1, 24, 24), 1, (6, 4))
    query.read((slice(2, 4), slice(3, 5), slice(0, 4)))
    assert sizes == [2 * 2 * 4]


def test_a_slice_of_a_stack_reads_its_layers_only():
    source, sizes = counting(np.zeros((6, 4), np.float32))
    lazy.stack([source] * 5).read((slice(1, 3), slice(0, 2), slice(0, 4)))
    assert sizes == [8, 8]


def test_shapes_flow_without_content():
    array = lazy.permute(lazy.split_axis(lazy.shape_only((6, 20)), 1, (-1, 4)), (1, 2, 0))
    assert array.shape == (5, 4, 6)
    with pytest.raises(TypeError, match="only a shape"):
        array.load()


def test_cast_rounds_to_nearest_even_and_leaves_integers():
    values = np.array([1 + 2**-8, 1 + 3 * 2**-8, -0.0, 3e38], np.float32)
    cast = lazy.cast(lazy.of_array(values), "bfloat16").load()
    np.testing.assert_array_equal(cast.astype(np.float32), [1.0, 1 + 2**-6, -0.0, np.float32(ml_dtypes.bfloat16(3e38))])
    assert lazy.cast(lazy.of_array(np.arange(3)), "bfloat16").dtype == np.int64


def test_equal_compares_bits_piece_by_piece():
    source = lazy.of_array(X.reshape(120, 1))
    other = X.reshape(120, 1).copy()
    assert lazy.equal(source, lazy.of_array(other), piece_bytes=50)
    other[-1] += 1
    assert not lazy.equal(source, lazy.of_array(other), piece_bytes=50)
    nan = lazy.of_array(np.full((3,), np.nan, np.float32))
    assert lazy.equal(nan, nan)
    assert not lazy.equal(source, lazy.of_array(X))
    assert not lazy.equal(lazy.of_array(np.zeros(2, np.float32)), lazy.of_array(np.zeros(2, np.float16)))


def test_a_sharded_array_reads_back_and_keeps_no_host_copy(cpu_devices):
    mesh = Mesh(np.array(cpu_devices).reshape(4, 2), ("fsdp", "tensor"))
    value = np.arange(8 * 6 * 4, dtype=np.float32).reshape(8, 6, 4)
    array = jax.device_put(value, NamedSharding(mesh, PartitionSpec("fsdp", "tensor")))
    source = lazy.of_array(array)
    rng = np.random.default_rng(1)
    for index in [lazy.whole(value.shape), *(random_index(rng, value.shape) for _ in range(5))]:
        np.testing.assert_array_equal(source.read(index), value[index])
    assert array._npy_value is None  # where jax keeps the host copy of an array that was converted to numpy


def test_an_array_of_several_processes_is_refused_before_it_is_read():
    class Spread:
        is_fully_addressable = False

    with pytest.raises(CheckpointError, match="spread over several processes; .* restore the checkpoint in one process"):
        lazy.of_array(Spread())
