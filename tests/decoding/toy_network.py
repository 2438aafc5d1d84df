"""A network without layers, for tests of decoding: logits depend on all tokens so far, through the cache."""

import jax
import jax.numpy as jnp
import numpy as np

from genjax.layers.cache import KVCache


class Toy:
    """Logits = a table row of the last token + a random projection of a discounted sum of all tokens' vectors.

    The cache keeps one vector a slot (as one "head"), so that wrong rows, slots or padding change the logits.
    """

    def __init__(self, vocab: int, seed: int = 0, scale: float = 1.0, width: int = 8):
        rng = np.random.default_rng(seed)
        self.vocab, self.width = vocab, width
        self.table = jnp.asarray(rng.normal(size=(vocab, vocab)) * scale, jnp.float32)
        self.vectors = jnp.asarray(rng.normal(size=(vocab, width)), jnp.float32)
        self.out = jnp.asarray(rng.normal(size=(width, vocab)) * scale / 2, jnp.float32)

    def new_cache(self, rows: int, slots: int) -> KVCache:
        empty = jnp.zeros((rows, slots, 1, self.width))
        return KVCache((empty,), (empty,), jnp.zeros((), jnp.int32), jnp.zeros((rows,), jnp.int32))

    def step(self, tokens, cache):
        vectors = self.vectors[tokens][:, :, None]
        key = jax.lax.dynamic_update_slice(cache.key[0], vectors, (0, cache.index, 0, 0))
        slots = jnp.arange(key.shape[1])
        query = cache.index + jnp.arange(tokens.shape[1])
        age = query[:, None] - slots[None, :]
        weight = jnp.where(age >= 0, 0.8 ** jnp.maximum(age, 0).astype(jnp.float32), 0)[None]
        weight = weight * (slots[None, None, :] >= cache.start[:, None, None])
        context = jnp.einsum("bts,bsk->btk", weight, key[:, :, 0])
        logits = self.table[tokens] + context @ self.out
        return logits, cache.replace(key=(key,), index=cache.index + tokens.shape[1])

    def logits(self, tokens) -> np.ndarray:
        """Logits of the next token after a list of tokens, without a cache."""
        vectors = np.asarray(self.vectors)[list(tokens)]
        context = (vectors * 0.8 ** np.arange(len(tokens))[::-1, None]).sum(0)
        return np.asarray(self.table)[tokens[-1]] + context @ np.asarray(self.out)

    def log_probs(self, tokens) -> np.ndarray:
        logits = self.logits(tokens)
        return logits - np.log(np.exp(logits - logits.max()).sum()) - logits.max()


def left_pad(prompts, length=None) -> tuple[np.ndarray, np.ndarray]:
    """Prompts of different lengths to `(tokens, lengths)`."""
    length = length or max(map(len, prompts))
    tokens = np.zeros((len(prompts), length), np.int32)
    for row, prompt in zip(tokens, prompts, strict=True):
        row[length - len(prompt) :] = prompt
    return tokens, np.array([len(p) for p in prompts], np.int32)
