"""Rows of tokens that a text tower reads: one text each, from its start token to its end token, padded with the end token."""

import string
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from genjax.data.tokenizers.base import Tokenizer
from genjax.errors import ConfigError

_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def text_rows(
    tokenizer: Tokenizer, texts: Sequence[str], length: int, canonical: bool = False
) -> Int[np.ndarray, "texts length"]:
    """int32 rows of `length`. A text that is too long loses its end. As transformers pads for CLIP and for SigLIP.

    Args:
        canonical: as published SigLIP models were trained: lower case, without punctuation, without a start token.

    Raises:
        ConfigError: a tokenizer without an end token, or a length without room for a text.
    """
    if tokenizer.eos_id is None:
        raise ConfigError(
            "a text tower reads texts up to their end token, and this tokenizer has none; use a wordpiece, bpe or CLIP tokenizer."
        )
    if canonical:
        texts = [" ".join(text.lower().translate(_NO_PUNCTUATION).split()) for text in texts]
    # CLIP's tokenizer and BERT's have both ends; BPE has one token for the end of a text, which may also be its bos_id.
    starts = not canonical and tokenizer.adds_bos and tokenizer.bos_id is not None
    before = [tokenizer.bos_id] if starts else []
    room = length - len(before) - 1
    if room < 1:
        raise ConfigError(f"data.context_length {length} has no room for a text beside its special tokens; use a longer one.")
    rows = np.full((len(texts), length), tokenizer.eos_id, np.int32)
    for row, ids in zip(rows, tokenizer.encode_batch(list(texts)), strict=True):
        found = [*before, *ids[:room]]
        row[: len(found)] = found
    return rows
