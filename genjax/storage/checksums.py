"""A checksum of an array's bits that does not depend on how the array is sharded.

Compressed chunks of a checkpoint carry no checksum of their own: a flipped bit, or a chunk that is missing and read as zeros,
would come back as plausible numbers. So each leaf's checksum is computed on the devices before it is saved and again after it
is restored, on whatever mesh. Integer sums wrap and commute exactly, so every sharding gives the same 32 bits.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Shaped, UInt32


@jax.jit
def checksum(array: Shaped[Array, "..."]) -> UInt32[Array, ""]:
    """Sum over elements of mix(bits xor mix(position)), modulo 2^32. `mix` is one to one, so every change of a single element
    shows; any other change goes unseen with probability 2^-32."""
    bits = _bits(array)
    position = jnp.zeros(bits.shape, jnp.uint32)
    stride = 1
    for axis in reversed(range(bits.ndim)):
        position += jax.lax.broadcasted_iota(jnp.uint32, bits.shape, axis) * np.uint32(stride % 2**32)
        stride *= bits.shape[axis]
    return jnp.sum(_mix(bits ^ _mix(position + np.uint32(1))), dtype=jnp.uint32)


def _mix(x: Array) -> Array:
    """The finalizer of MurmurHash3 (Appleby, 2008)."""
    x = (x ^ (x >> 16)) * np.uint32(0x85EBCA6B)
    x = (x ^ (x >> 13)) * np.uint32(0xC2B2AE35)
    return x ^ (x >> 16)


def _bits(array: Array) -> Array:
    """The elements as uint32; 8-byte elements as two of them."""
    if array.dtype == jnp.bool_:
        return array.astype(jnp.uint32)
    if jnp.issubdtype(array.dtype, jnp.complexfloating):
        array = jnp.stack([array.real, array.imag], -1)
    if array.dtype.itemsize == 1:
        return jax.lax.bitcast_convert_type(array, jnp.uint8).astype(jnp.uint32)
    if array.dtype.itemsize == 2:
        return jax.lax.bitcast_convert_type(array, jnp.uint16).astype(jnp.uint32)
    return jax.lax.bitcast_convert_type(array, jnp.uint32)
