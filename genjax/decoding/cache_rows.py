"""Rows of a KV cache: continued several times, or exchanged between beams."""

import jax.numpy as jnp
from jaxtyping import Array, Int

from genjax.layers.cache import KVCache


def take_rows(cache: KVCache, rows: Int[Array, "chosen"]) -> KVCache:
    """The cache whose row i is row `rows[i]` of this one, which continues the same prompt.

    What the cache holds of contexts (`cross_key`) is by prompt, not by row, and stays as it is.
    """
    # Keys and values end in [rows kv_heads slots head_dim], with or without a leading axis of layers.
    take = lambda x: jnp.take(x, rows, axis=x.ndim - 4)  # noqa: E731
    if isinstance(cache.key, tuple):
        key, value = tuple(map(take, cache.key)), tuple(map(take, cache.value))
    else:
        key, value = take(cache.key), take(cache.value)
    return cache.replace(key=key, value=value, start=cache.start[rows])


def repeat_rows(cache: KVCache, times: int) -> KVCache:
    """The cache with each row `times` times in turn."""
    return cache if times == 1 else take_rows(cache, jnp.repeat(jnp.arange(cache.start.shape[0]), times))
