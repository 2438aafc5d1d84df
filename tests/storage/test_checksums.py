"""The checksum of an array sees every change of its bits and nothing of its sharding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from genjax.storage.checksums import checksum

DTYPES = ["float32", "bfloat16", "float16", "int32", "uint32", "int8", "uint8", "bool", "int16", "complex64", "float8_e4m3fn"]


def example(dtype, shape=(8, 6)):
    values = jax.random.normal(jax.random.key(0), shape) * 100
    return (values > 0) if dtype == "bool" else values.astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_single_bit_counts(dtype):
    array = np.asarray(example(dtype, (3, 2)))
    sums = {int(checksum(jnp.asarray(array)))}
    raw = array.tobytes()
    bits = range(0, len(raw) * 8, 8) if dtype == "bool" else range(len(raw) * 8)
    for bit in bits:
        changed = bytearray(raw)
        changed[bit // 8] ^= 1 << bit % 8
        sums.add(int(checksum(jnp.asarray(np.frombuffer(bytes(changed), array.dtype).reshape(array.shape)))))
    assert len(sums) == len(bits) + 1


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8"])
def test_does_not_depend_on_the_sharding(cpu_devices, dtype):
    array = example(dtype)
    whole = int(checksum(array))
    for shape, spec in [((8, 1), ("a", None)), ((4, 2), ("a", "b")), ((2, 4), (("a", "b"), None)), ((4, 2), (None, "b"))]:
        mesh = Mesh(np.array(cpu_devices).reshape(shape), ("a", "b"))
        assert int(checksum(jax.device_put(array, NamedSharding(mesh, PartitionSpec(*spec))))) == whole


def test_order_and_zeros_and_nan_count():
    array = jnp.arange(1.0, 13.0)
    others = [array[::-1], jnp.roll(array, 1), jnp.zeros(12), -jnp.zeros(12), jnp.full(12, jnp.nan), array.at[3].set(jnp.nan)]
    assert len({int(checksum(x)) for x in [array, *others]}) == 7


def test_the_sign_of_zero_counts_in_pairs_too():
    array = jnp.zeros(64)
    assert len({int(checksum(array.at[:count].set(-0.0))) for count in range(65)}) == 65


def test_the_value_is_part_of_the_format():
    """A checkpoint outlives the code that wrote it: these sums may not change. The empty array's is 0."""
    assert int(checksum(jnp.zeros((0, 4)))) == 0
    assert int(checksum(jnp.int32(5))) == 3217583722
    assert int(checksum(jnp.arange(6.0).reshape(2, 3))) == 472236510
    assert int(checksum(jnp.arange(6).astype(jnp.bfloat16))) == 2067601897
