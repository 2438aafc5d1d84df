"""Which tokens a masked language model is to say, and what it sees in their places (Devlin et al., 2019, section 3.1).

Of a row's tokens a share is chosen, specials and padding never; of those 80 % become the mask token, 10 % any ordinary token, and
10 % stay. The choice is drawn anew each time a row is read (dynamic masking; Liu et al., 2019, section 4.1), on the device.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Float, Int, Key

from genjax.errors import ConfigError

MASKED, REPLACED = 0.8, 0.1  # the rest of the chosen tokens stays


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """What masking needs to know of a tokenizer.

    Attributes:
        mask_id: the token that hides another.
        special: by id: stands for no text, and is never chosen.
        ordinary: ids of all others, from which a replacement is drawn.
        inside: by id: goes on with the word that the token before it began.
    """

    mask_id: int
    special: Bool[np.ndarray, " vocab"]
    ordinary: Int[np.ndarray, " ordinary"]
    inside: Bool[np.ndarray, " vocab"]


def vocabulary_of(tokenizer: Any) -> Vocabulary:
    """The vocabulary of a tokenizer that has a mask token.

    Raises:
        ConfigError: it has none.
    """
    mask_id = mask_token(tokenizer)
    special = np.asarray(tokenizer.token_bytes) == 0
    special[mask_id] = True
    pieces = [tokenizer.decode_bytes([i]) for i in range(tokenizer.vocab_size)]
    inside = np.array([not piece.startswith(b" ") for piece in pieces]) & ~special
    return Vocabulary(mask_id, special, np.flatnonzero(~special).astype(np.int32), inside)


def any_vocabulary(size: int) -> Vocabulary:
    """A stand-in of the right shapes, for a step that is compiled without its data."""
    nothing = np.zeros(size, bool)
    return Vocabulary(0, nothing, np.arange(size, dtype=np.int32), nothing)


def mask_token(tokenizer: Any) -> int:
    """The id of the mask token. Raises ConfigError where there is none."""
    found = getattr(tokenizer, "mask_id", None)
    for name in ("[MASK]", "<mask>"):
        found = tokenizer.token_id(name) if found is None else found
    if found is None:
        raise ConfigError("a masked language model needs a tokenizer with a [MASK]; set data.tokenizer.name='wordpiece'.")
    return int(found)


@struct.dataclass
class Masked:
    """Rows with words to be found.

    Attributes:
        tokens: what the model sees.
        places: where the words are that it is to say, as many for each row; those without weight are there to fill up.
        targets: the words.
        weights: 1 for a word that counts, else 0.
    """

    tokens: Int[Array, "batch length"]
    places: Int[Array, "batch places"]
    targets: Int[Array, "batch places"]
    weights: Float[Array, "batch places"]


def mask(
    keys: Key[Array, "batch"],
    tokens: Int[Array, "batch length"],
    segment_ids: Int[Array, "batch length"],
    vocabulary: Vocabulary,
    rate: float,
    whole_words: bool = False,
) -> Masked:
    """Chooses round(rate * n) of a row's n eligible tokens, at least 1, and hides them.

    Args:
        keys: one for each row: what a row draws depends on nothing else.
        segment_ids: 0 for padding.
        rate: the share that is chosen, in (0, 1).
        whole_words: all tokens of a word are chosen together; the word that would lead past the number is left out.
    """
    special, inside = jnp.asarray(vocabulary.special), jnp.asarray(vocabulary.inside)
    places = num_places(tokens.shape[1], rate)
    drawn_from = jnp.asarray(vocabulary.ordinary)

    def row(key, tokens, segments):
        choice, fate, other = jax.random.split(key, 3)
        eligible = (segments > 0) & ~special[tokens]
        count = jnp.sum(eligible)
        wanted = jnp.where(count > 0, jnp.clip(jnp.round(rate * count), 1, places), 0).astype(jnp.int32)
        scores = jax.random.uniform(choice, tokens.shape)
        if whole_words:
            words = _Words(tokens, segments, eligible, inside)
            scores = scores[words.number]
        chosen = jnp.argsort(jnp.where(eligible, scores, 2.0), stable=True)[:places]
        ranks = jnp.arange(places)
        counts = words.last_rank(chosen, ranks) < wanted if whole_words else ranks < wanted
        targets, how = tokens[chosen], jax.random.uniform(fate, (places,))
        anything = jax.random.choice(other, drawn_from, (places,))
        hidden = jnp.where(how < MASKED, vocabulary.mask_id, jnp.where(how < MASKED + REPLACED, anything, targets))
        seen = tokens.at[chosen].set(jnp.where(counts, hidden, targets), unique_indices=True)
        return Masked(seen, chosen, targets, counts.astype(jnp.float32))

    return jax.vmap(row)(keys, tokens, segment_ids)


def num_places(length: int, rate: float) -> int:
    """How many tokens of a full row of `length` are chosen: the static number of places of `Masked`."""
    return max(1, round(rate * length))


def content_keys(tokens: Int[Array, "batch length"]) -> Key[Array, "batch"]:
    """A fixed key for each row that depends on its tokens alone: held-out rows are masked the same way every time, whatever
    batch they are in."""
    factors = jnp.arange(1, 2 * tokens.shape[1], 2, dtype=jnp.uint32) * jnp.uint32(2654435761)
    contents = jnp.sum(tokens.astype(jnp.uint32) * factors, axis=1, dtype=jnp.uint32)
    return jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(0), contents)


class _Words:
    """The words of a row: number, first place and size of each token's."""

    def __init__(self, tokens, segments, eligible, inside):
        length = tokens.shape[0]
        before = lambda x: jnp.concatenate([jnp.zeros((1,), x.dtype), x[:-1]])  # noqa: E731
        goes_on = inside[tokens] & before(eligible) & (before(segments) == segments)
        self.number = jnp.maximum(jnp.cumsum(eligible & ~goes_on) - 1, 0)
        places = jnp.where(eligible, jnp.arange(length), length)
        self.first = jax.ops.segment_min(places, self.number, length)
        self.size = jax.ops.segment_sum(eligible.astype(jnp.int32), self.number, length)

    def last_rank(self, chosen, ranks):
        """The rank of the last token of each chosen one's word. Tokens of a word have one score and keep their order."""
        word = self.number[chosen]
        return ranks - (chosen - self.first[word]) + self.size[word] - 1
