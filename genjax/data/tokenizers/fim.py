"""Fill in the middle: the sentinel tokens of well-known code models, and the prompt that asks for a middle.

Training writes (Bavarian et al., 2022), with P, S and M the text before, after and between two cuts:

    PSM: <prefix> P <suffix> S <middle> M <end of text>
    SPM: <prefix> <suffix> S <middle> P M <end of text>

so that the prompt for a middle is either of them up to M.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from genjax.data.tokenizers.base import Tokenizer

Order = Literal["psm", "spm"]
FIM_TOKENS = ("<fim_prefix>", "<fim_middle>", "<fim_suffix>", "<fim_pad>")  # of our own tokenizers: StarCoder's names
# Prefix, middle, suffix; then padding and the token that ends a middle, where a model has them.
_NAMES = (
    (*FIM_TOKENS, ""),  # StarCoder, Granite, CodeQwen
    ("<fim-prefix>", "<fim-middle>", "<fim-suffix>", "<fim-pad>", ""),  # SantaCoder
    ("<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|fim_pad|>", ""),  # Qwen-Coder, CodeGemma
    ("\u2581<PRE>", "\u2581<MID>", "\u2581<SUF>", "", "\u2581<EOT>"),  # CodeLlama
    ("<｜fim▁begin｜>", "<｜fim▁end｜>", "<｜fim▁hole｜>", "", ""),  # DeepSeek-Coder: the hole is where the suffix follows
)
SENTINEL_NAMES = frozenset(name for names in _NAMES for name in names if name)
_MARK = "\u263a"


@dataclass(frozen=True)
class Sentinels:
    """Token ids.

    Attributes:
        pad: padding, or None.
        end: ends a middle where that is not the tokenizer's `eos_id` (CodeLlama), or None.
    """

    prefix: int
    middle: int
    suffix: int
    pad: int | None = None
    end: int | None = None


def find_sentinels(tokenizer: Tokenizer) -> Sentinels | None:
    """The sentinels by the names that published models give them, or None: the tokenizer has none."""
    for names in _NAMES:
        prefix, middle, suffix, pad, end = (tokenizer.token_id(name) if name else None for name in names)
        if prefix is not None and middle is not None and suffix is not None:
            return Sentinels(prefix, middle, suffix, pad, end)
    return None


def infill_prompt(
    encode: Callable[[str], Sequence[int]],
    sentinels: Sentinels,
    prefix_text: str,
    suffix_text: str,
    order: Order = "psm",
    encode_suffix: Callable[[str], Sequence[int]] | None = None,
) -> list[int]:
    """What a model continues with the middle; no bos in front.

    Args:
        encode: `tokenizer.encode`.
        order: "psm" or "spm"; a model trained on both takes either.
        encode_suffix: for tokenizers that put a space before the first word (CodeLlama), `partial(encode_inside, tokenizer)`;
            None: `encode`.
    """
    prefix = [int(i) for i in encode(prefix_text)]
    suffix = [int(i) for i in (encode_suffix or encode)(suffix_text)]
    if order == "spm":
        return [sentinels.prefix, sentinels.suffix, *suffix, sentinels.middle, *prefix]
    return [sentinels.prefix, *prefix, sentinels.suffix, *suffix, sentinels.middle]


def encode_inside(tokenizer: Tokenizer, text: str) -> list[int]:
    """`tokenizer.encode` of a text that does not begin one: without the space that some tokenizers put before the first word."""
    if tokenizer.decode_bytes(tokenizer.encode("a")) == b"a":
        return [int(i) for i in tokenizer.encode(text)]
    start = len(tokenizer.encode(_MARK))
    return [int(i) for i in tokenizer.encode(_MARK + text)[start:]]
