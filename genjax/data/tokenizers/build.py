"""The tokenizer that a config asks for: loaded, or trained from the corpus."""

import os
from collections.abc import Callable, Iterable

from genjax.data.text_config import TokenizerConfig
from genjax.data.tokenizers.base import Tokenizer
from genjax.data.tokenizers.bpe import BPETokenizer
from genjax.data.tokenizers.bpe_training import add_fim_tokens, train_bpe
from genjax.data.tokenizers.byte import ByteTokenizer
from genjax.data.tokenizers.character import CharacterTokenizer, train_character
from genjax.data.tokenizers.fim import find_sentinels
from genjax.data.tokenizers.load import load_tokenizer
from genjax.data.tokenizers.sentencepiece import SentencePieceTokenizer, train_sentencepiece
from genjax.data.tokenizers.wordpiece import WordPieceTokenizer, train_wordpiece
from genjax.errors import ConfigError

KINDS = {
    "byte": ByteTokenizer,
    "character": CharacterTokenizer,
    "sentencepiece": SentencePieceTokenizer,
    "bpe": BPETokenizer,
    "wordpiece": WordPieceTokenizer,
}
VOCAB_SIZE = 8192


def given_tokenizer(config: TokenizerConfig) -> Tokenizer | None:
    """The tokenizer that needs no corpus, or None when it must be trained.

    Raises:
        ConfigError: what lies at `path` is of another kind than `name`, or cannot have the `fim_tokens` asked for.
    """
    if not config.path:
        return ByteTokenizer(config.fim_tokens) if config.name == "byte" else None
    tokenizer = load_tokenizer(os.path.expandvars(config.path))
    if config.name != "pretrained" and not isinstance(tokenizer, KINDS[config.name]):
        found = next(name for name, kind in KINDS.items() if isinstance(tokenizer, kind))
        raise ConfigError(
            f"data.tokenizer.path {config.path} holds a {found} tokenizer, but data.tokenizer.name is {config.name!r}; "
            f"set the name to {found!r} or 'pretrained'."
        )
    return _with_fim_tokens(tokenizer, config.path) if config.fim_tokens else tokenizer


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
    texts, vocab_size = sample(config.train_characters), config.vocab_size or VOCAB_SIZE
    if config.name == "sentencepiece":
        return train_sentencepiece(texts, vocab_size, config.model_type)
    if config.name == "wordpiece":
        return train_wordpiece(texts, vocab_size, config.lowercase)
    return train_bpe(texts, vocab_size, config.words, config.fim_tokens)


def _with_fim_tokens(tokenizer: Tokenizer, path: str) -> Tokenizer:
    if find_sentinels(tokenizer) is not None:
        return tokenizer
    if isinstance(tokenizer, ByteTokenizer):
        return ByteTokenizer(fim_tokens=True)
    if isinstance(tokenizer, BPETokenizer):
        return add_fim_tokens(tokenizer)
    raise ConfigError(
        f"the tokenizer of data.tokenizer.path {path} has no sentinels of fill-in-the-middle and cannot get them; use a "
        "byte-level one, or leave data.tokenizer.fim_tokens out."
    )
