"""Choosing from a vocabulary without sorting it.

Sorting 50,257 logits takes milliseconds a row on a CPU and is slow on a TPU. What decoding needs of the order is less: the k-th
largest value, the value at which a probability mass is reached, the few best, one draw. A search for the 32 bits of a float, from
the first digit to the last, finds the first two exactly, blocks the third, an inverse cumulative distribution in two levels the
last.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Key, UInt32

from genjax.parallel.rules import current_platform

BLOCK = 256  # neighbours in the vocabulary that are summed up or compared as one


def first_argmax(scores: Float[Array, "rows vocabulary"]) -> Int[Array, "rows"]:
    """The lowest index of each row's maximum.

    The same as `jnp.argmax` for numbers, as a maximum and a minimum, which vectorize (argmax takes 4 times as long on a CPU).
    """
    size = scores.shape[-1]
    largest = jnp.max(scores, axis=-1, keepdims=True)
    index = jnp.min(jnp.where(scores == largest, jnp.arange(size, dtype=jnp.int32), size), axis=-1)
    return jnp.minimum(index, size - 1)  # a row of NaN has no maximum


def kth_largest(scores: Float[Array, "rows vocabulary"], k: Int[Array, "rows"], digit_bits: int = 0) -> Float[Array, "rows"]:
    """The k-th largest value of each row, 1 <= k <= vocabulary; k is traced. `digit_bits` as in `_search`."""
    ordered = _ordered_bits(scores)[:, None, :]
    count = lambda t: jnp.sum(ordered >= t[:, :, None], axis=-1)  # noqa: E731
    return _from_ordered_bits(_search(lambda t: count(t) >= k[:, None], scores.shape[0], digit_bits))


def mass_threshold(
    scores: Float[Array, "rows vocabulary"],
    probabilities: Float[Array, "rows vocabulary"],
    mass: Float[Array, "rows"],
    digit_bits: int = 0,
) -> Float[Array, "rows"]:
    """The lowest score of each row at which the probabilities of all scores up to and with it exceed `mass` < 1.

    The maximum, where rounding keeps the sum from ever exceeding it. `digit_bits` as in `_search`.
    """
    ordered, each = _ordered_bits(scores)[:, None, :], probabilities[:, None, :]
    below = lambda t: jnp.sum(jnp.where(ordered < t[:, :, None], each, 0), axis=-1)  # noqa: E731
    threshold = _search(lambda t: below(t) <= mass[:, None], scores.shape[0], digit_bits)
    return _from_ordered_bits(jnp.minimum(threshold, ordered.max(axis=(1, 2))))


def best(scores: Float[Array, "rows vocabulary"], count: int) -> tuple[Float[Array, "rows count"], Int[Array, "rows count"]]:
    """The `count` largest scores of each row with their indices, in order; of equal ones the lower index first.

    As `lax.top_k`, which sorts the whole row. Here it sees only the `count` blocks with the largest maxima: an element of any
    other block has `count` elements before it.
    """
    rows, size = scores.shape
    blocks = -(-size // BLOCK)
    if blocks <= 2 * count:
        return lax.top_k(scores, count)
    padded = jnp.pad(scores, ((0, 0), (0, blocks * BLOCK - size)), constant_values=-jnp.inf).reshape(rows, blocks, BLOCK)
    chosen = jnp.sort(lax.top_k(padded.max(axis=-1), count)[1], axis=-1)  # in order, so that ties still fall to the lower index
    few = jnp.take_along_axis(padded, chosen[:, :, None], axis=1).reshape(rows, count * BLOCK)
    values, places = lax.top_k(few, count)
    index = jnp.take_along_axis(chosen, places // BLOCK, axis=1) * BLOCK + places % BLOCK
    return values, jnp.minimum(index, size - 1)


def draw(logits: Float[Array, "rows vocabulary"], keys: Key[Array, "rows"]) -> Int[Array, "rows"]:
    """One index of each row with probability softmax(logits); never one whose probability is 0.

    A row's draw depends on its own key and logits alone. Two uniform numbers a row: one picks a block of the vocabulary, one a
    place in it. (The Gumbel trick needs a random number for each logit, and ten times as long on a CPU.)
    """
    rows, size = logits.shape
    blocks = -(-size // BLOCK)
    uniform = jax.vmap(lambda key: jax.random.uniform(key, (2,)))(keys)
    weights = jnp.exp(logits - jnp.max(logits, axis=-1, keepdims=True))
    weights = jnp.pad(weights, ((0, 0), (0, blocks * BLOCK - size))).reshape(rows, blocks, BLOCK)
    block = _invert(weights.sum(axis=-1), uniform[:, 0])
    within = jnp.take_along_axis(weights, block[:, None, None], axis=1)[:, 0]
    return (block * BLOCK + _invert(within, uniform[:, 1])).astype(jnp.int32)


def _invert(weights: Float[Array, "rows size"], uniform: Float[Array, "rows"]) -> Int[Array, "rows"]:
    """The first index of positive weight whose cumulative sum exceeds `uniform` times the whole, 0 <= uniform < 1."""
    # A parallel cumulative sum may step back by a rounding error; asking for positive weight keeps what is forbidden out.
    cumulative = jnp.where(weights > 0, jnp.cumsum(weights, axis=-1), 0)
    target = uniform * cumulative.max(axis=-1)
    size = weights.shape[-1]
    index = jnp.min(jnp.where(cumulative > target[:, None], jnp.arange(size, dtype=jnp.int32), size), axis=-1)
    return jnp.minimum(index, size - 1)


def _search(
    holds: Callable[[UInt32[Array, "rows digits"]], Bool[Array, "rows digits"]], rows: int, digit_bits: int
) -> UInt32[Array, "rows"]:
    """The largest unsigned number of each row for which the monotone `holds` (true, then false) is true, digit by digit.

    Args:
        holds: of any numbers.
        digit_bits: bits of a digit, 1, 2 or 4; each digit is one pass that tries all its values. 0: by platform. Bits are the
            least work, which counts on a CPU; where a pass costs a kernel launch, fewer passes are better.
    """
    bits = digit_bits or (1 if current_platform() == "cpu" else 4)
    values = jnp.arange(1, 2**bits, dtype=jnp.uint32)

    def body(i, found):
        shift = (32 - bits * (i + 1)).astype(jnp.uint32)
        digit = jnp.sum(holds(found[:, None] | (values << shift)), axis=-1)
        return found | (digit.astype(jnp.uint32) << shift)

    return lax.fori_loop(0, 32 // bits, body, jnp.zeros((rows,), jnp.uint32))


def _ordered_bits(values: Float[Array, "..."]) -> UInt32[Array, "..."]:
    """Unsigned numbers in the order of the float32 values: sign bit flipped for positive ones, all bits for negative ones."""
    bits = lax.bitcast_convert_type(values.astype(jnp.float32), jnp.uint32)
    sign = jnp.uint32(0x80000000)
    return jnp.where(bits & sign != 0, ~bits, bits | sign)


def _from_ordered_bits(ordered: UInt32[Array, "..."]) -> Float[Array, "..."]:
    sign = jnp.uint32(0x80000000)
    return lax.bitcast_convert_type(jnp.where(ordered & sign != 0, ordered ^ sign, ~ordered), jnp.float32)
