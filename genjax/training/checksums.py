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
    """Sum over elements of bits * weight(position) modulo 2^32. Weights are odd, so any change of a single element shows; any
    other change goes unseen with probability 2^-32."""
    bits = _bits(array)
    position = jnp.zeros(bits.shape, jnp.uint32)
    stride = 1
    for axis in reversed(range(bits.ndim)):
        position += jax.lax.broadcasted_iota(jnp.uint32, bits.shape, axis) * np.uint32(stride % 2**32)
        stride *= bits.shape[axis]
    # The multiplicative mixing steps of xxHash32, so that swapped or shifted blocks get unrelated weights.
    weight = position * np.uint32(0x9E3779B1)
    weight = (weight ^ (weight >> 15)) * np.uint32(0x85EBCA77)
    weight = (weight ^ (weight >> 13)) | np.uint32(1)
    return jnp.sum(bits * weight, dtype=jnp.uint32)


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
