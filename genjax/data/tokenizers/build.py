"""The tokenizer that a config asks for: loaded, or trained from the corpus."""

from collections.abc import Callable, Iterable

from genjax.data.text_config import TokenizerConfig
from genjax.data.tokenizers.base import Tokenizer
from genjax.data.tokenizers.byte import ByteTokenizer
from genjax.data.tokenizers.character import train_character
from genjax.data.tokenizers.load import load_tokenizer


def given_tokenizer(config: TokenizerConfig) -> Tokenizer | None:
    """The tokenizer that needs no corpus, or None when it must be trained."""
    if config.path:
        return load_tokenizer(config.path)
    return ByteTokenizer() if config.name == "byte" else None


def train_tokenizer(
    config: TokenizerConfig, all_texts: Callable[[], Iterable[str]], sample: Callable[[int], Iterable[str]]
) -> Tokenizer:
    """A tokenizer of the corpus.

    Args:
        all_texts: every document, held-out ones too: a character vocabulary must know them all.
        sample: `sample(n)` gives about n characters of the training documents, evenly taken.
    """
    if config.name == "character":
        return train_character(all_texts(), config.add_eos)
    raise NotImplementedError(config.name)
