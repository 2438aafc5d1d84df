"""Byte-level BPE trained from a corpus, in GPT-2's manner or for code.

Code is a third whitespace. GPT-2's words leave an indentation to merges that the corpus may or may not have suggested; the
tokenizer for code has one token for every run of up to 32 spaces and 8 tabs, whatever it was trained on.
"""

import json
import re
from collections.abc import Iterable
from typing import Literal

import tokenizers

from genjax.data.tokenizers.bpe import LINE_ENDS, SEPARATOR, BPETokenizer, byte_characters, byte_level, without_surrogates
from genjax.data.tokenizers.fim import FIM_TOKENS
from genjax.errors import ConfigError

Words = Literal["gpt2", "code"]
# Llama 3's words, less its English contractions: letters with at most one other character before them, up to three digits,
# punctuation with the line ends after it, blank lines, spaces (all but the last before a word).
CODE_WORDS = rf"[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{LINE_ENDS}|\s+(?!\S)|\s+"
RUNS = {" ": 32, "\t": 8}  # the longest run that is one token


def train_bpe(texts: Iterable[str], vocab_size: int, words: Words = "gpt2", fim_tokens: bool = False) -> BPETokenizer:
    """Byte-level BPE: every byte is a token, so every text can be encoded. The same texts give the same tokenizer.

    Args:
        vocab_size: at most this many ids (fewer when the texts have no more pairs): the specials, 256 bytes, for code the 38 runs
            of whitespace, and merges.
        words: what a token never reaches beyond: GPT-2's words, or those for code.
        fim_tokens: the sentinels of fill-in-the-middle follow the separator.

    Raises:
        ConfigError: no room for specials, bytes and runs.
    """
    specials = [SEPARATOR, *(FIM_TOKENS if fim_tokens else ())]
    runs = run_merges() if words == "code" else []
    least = len(specials) + 256 + len(runs)
    if vocab_size < least:
        parts = ["256 bytes", f"{len(specials)} special{'s' if fim_tokens else ''}", *([f"{len(runs)} runs"] if runs else [])]
        raise ConfigError(
            f"data.tokenizer.vocab_size is {vocab_size}, but byte-level BPE needs at least {least} ({', '.join(parts)})."
        )
    pattern = CODE_WORDS if words == "code" else ""
    tokenizer = byte_level(tokenizers.models.BPE(), pattern)
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=vocab_size - len(runs),
        special_tokens=specials,
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    cleaned = map(without_surrogates, texts)
    tokenizer.train_from_iterator(map(_with_single_spaces, cleaned) if runs else cleaned, trainer)
    if runs:
        tokenizer = _with_runs(tokenizer, specials, runs, pattern)
    separator = tokenizer.token_to_id(SEPARATOR)
    return BPETokenizer(tokenizer.to_str(), separator, separator, adds_bos=False)


def add_fim_tokens(tokenizer: BPETokenizer) -> BPETokenizer:
    """The tokenizer with sentinels after its last id."""
    library = tokenizers.Tokenizer.from_str(tokenizer.serialized)
    library.add_special_tokens(list(FIM_TOKENS))
    return BPETokenizer(library.to_str(), tokenizer.bos_id, tokenizer.eos_id, tokenizer.adds_bos)


def run_merges() -> list[tuple[str, str]]:
    """The merges, in order, that make one token of every run of 2 to `RUNS[character]` equal characters.

    BPE merges the pair that stands first in the list, at every place from the left. Doubling comes first (1+1, 2+2, 4+4, ...),
    so a run becomes its binary digits, largest first; then the digits are joined from the left: the pairs (sum of the higher
    digits, next digit) stand in the order of falling left sides.
    """
    merges = []
    for character, longest in RUNS.items():
        one = byte_characters()[ord(character)]
        lengths = range(2, longest + 1)
        lowest = {n: n & -n for n in lengths}  # the last binary digit of n
        doublings = [(n // 2, n // 2) for n in lengths if lowest[n] == n]
        joins = sorted(((n - lowest[n], lowest[n]) for n in lengths if lowest[n] != n), reverse=True)
        merges += [(one * left, one * right) for left, right in doublings + joins]
    return merges


def _with_single_spaces(text: str) -> str:
    """Runs of spaces and tabs give way to their last character: training sees the words after them, and learns no runs."""
    return re.sub(r"[ \t]+(?=[ \t])", "", text)


def _with_runs(
    trained: tokenizers.Tokenizer, specials: list[str], runs: list[tuple[str, str]], pattern: str
) -> tokenizers.Tokenizer:
    """The trained merges behind those of the runs, which so go before every other."""
    model = json.loads(trained.to_str())["model"]
    pieces = sorted(model["vocab"], key=model["vocab"].get)
    first = len(specials) + 256  # of the trained merges
    pieces[first:first] = [left + right for left, right in runs]
    merges = runs + [tuple(merge) for merge in model["merges"]]
    tokenizer = byte_level(tokenizers.models.BPE({piece: i for i, piece in enumerate(pieces)}, merges), pattern)
    tokenizer.add_special_tokens(specials)
    return tokenizer
