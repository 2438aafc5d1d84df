"""A tokenizer of the `tokenizers` library: byte-level BPE (GPT-2, Llama 3), and BPE or unigram over characters (Llama 2)."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from jaxtyping import Int

from genjax.data.hashing import digest
from genjax.data.tokenizers.base import byte_of_piece, join_pieces, no_byte_tokens, write_manifest
from genjax.errors import DataError

SEPARATOR = "<|endoftext|>"  # GPT-2's one special, before and after a document
SPACE = "\u2581"
LINE_ENDS = r"\s*[\r\n]+"  # the part of Llama 3's word pattern that takes line ends
LONG = 1 << 18  # characters: a byte-level text longer than this is encoded in parts, by several threads
ESCAPED = re.compile("([\udc80-\udcff]+)")  # bytes that are not UTF-8, as `surrogateescape` decodes them


@dataclass(frozen=True)
class BPETokenizer:
    """A tokenizer of the `tokenizers` library.

    Attributes:
        serialized: the content of a tokenizer.json file.
    """

    serialized: str = field(repr=False)
    bos_id: int | None
    eos_id: int | None
    adds_bos: bool

    @cached_property
    def vocab_size(self) -> int:
        return max(self._tokenizer.get_vocab(with_added_tokens=True).values()) + 1

    @cached_property
    def token_bytes(self) -> Int[np.ndarray, " vocab"]:
        return np.array([len(piece) for piece in self._pieces], np.int32)

    @property
    def fingerprint(self) -> str:
        return digest("bpe", self.serialized, repr((self.bos_id, self.eos_id, self.adds_bos)))

    def encode(self, text: str) -> Int[np.ndarray, " length"]:
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[Int[np.ndarray, " length"]]:
        parts = [list(_parts(text)) if self._splits_at_lines else [text] for text in map(without_surrogates, texts)]
        encoded = self._tokenizer.encode_batch_fast([p for text in parts for p in text], add_special_tokens=False)
        ids = iter(np.array(encoding.ids, np.int32) for encoding in encoded)
        return [np.concatenate([next(ids) for _ in text]) for text in parts]

    def encode_bytes(self, content: bytes) -> Int[np.ndarray, " length"]:
        if not self._byte_level:
            raise no_byte_tokens(f"character-level {self._description['model']['type']}")
        stretches = ESCAPED.split(content.decode("utf-8", "surrogateescape"))  # text, other bytes, text, ... text
        texts = self.encode_batch(stretches[::2])
        others = [np.frombuffer(s.encode("utf-8", "surrogateescape"), np.uint8) for s in stretches[1::2]]
        joined = texts[:1]
        for other, text in zip(others, texts[1:], strict=True):
            joined += [self._byte_ids[other], text]
        return np.concatenate(joined)

    def token_id(self, name: str) -> int | None:
        return next((token["id"] for token in self._description["added_tokens"] if token["content"] == name), None)

    def decode(self, ids: Sequence[int]) -> str:
        if self._byte_level:
            return self.decode_bytes(ids).decode("utf-8", "replace")
        known = [i for i in np.asarray(ids, np.int64).tolist() if 0 <= i < self.vocab_size]
        return self._tokenizer.decode(known, skip_special_tokens=True)

    def decode_bytes(self, ids: Sequence[int]) -> bytes:
        """As the protocol says; the space that a model may put before the first word stays (`decode` takes it away)."""
        return join_pieces(self._pieces, ids)

    def save(self, folder: Path) -> None:
        """Also a tokenizer_config.json, with which Hugging Face's AutoTokenizer opens the folder and knows its specials."""
        folder = Path(folder)
        write_manifest(folder, kind="bpe", bos_id=self.bos_id, eos_id=self.eos_id, adds_bos=self.adds_bos)
        (folder / "tokenizer.json").write_text(self.serialized, encoding="utf-8")
        ends = {"bos_token": self.bos_id, "eos_token": self.eos_id}
        named: dict[str, Any] = {name: self._tokenizer.id_to_token(i) for name, i in ends.items() if i is not None}
        specials = [token["content"] for token in self._description["added_tokens"] if token["special"]]
        if others := [name for name in specials if name not in named.values()]:
            named["additional_special_tokens"] = others
        config = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False, **named}
        (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")

    def __reduce__(self):
        return BPETokenizer, (self.serialized, self.bos_id, self.eos_id, self.adds_bos)  # `encode_special_tokens` is not pickled

    @cached_property
    def _tokenizer(self) -> tokenizers.Tokenizer:
        tokenizer = tokenizers.Tokenizer.from_str(self.serialized)
        tokenizer.encode_special_tokens = True  # a special's name in a text is text: it cannot end a document
        return tokenizer

    @cached_property
    def _description(self) -> Mapping[str, Any]:
        return json.loads(self.serialized)

    @cached_property
    def _byte_level(self) -> bool:
        return "ByteLevel" in types_within(self._description["decoder"])

    @cached_property
    def _splits_at_lines(self) -> bool:
        """Whether words end where lines end, as with GPT-2's and Llama 3's patterns: the parts of a text between line ends can
        then be encoded one by one."""
        steps = self._description["pre_tokenizer"] or {}
        steps = steps.get("pretokenizers", [steps])
        gpt2 = steps[0].get("type") == "ByteLevel" and steps[0].get("use_regex")
        llama3 = steps[0].get("type") == "Split" and LINE_ENDS in steps[0].get("pattern", {}).get("Regex", "")
        plain = self._description["normalizer"] is None and not any(step.get("add_prefix_space") for step in steps)
        return bool(self._byte_level and plain and (gpt2 or llama3))

    @cached_property
    def _byte_ids(self) -> Int[np.ndarray, " bytes"]:
        ids = [self._tokenizer.token_to_id(character) for _, character in sorted(byte_characters().items())]
        if None in ids:
            raise DataError(
                f"the tokenizer has no token for the byte 0x{ids.index(None):02X}, so it cannot write every text; "
                "use one whose vocabulary has all 256 bytes."
            )
        return np.array(ids, np.int32)

    @cached_property
    def _pieces(self) -> list[bytes]:
        added = {token["id"]: token for token in self._description["added_tokens"]}
        pieces = [b""] * self.vocab_size
        to_byte = {character: byte for byte, character in byte_characters().items()}
        for piece, i in self._tokenizer.get_vocab(with_added_tokens=True).items():
            if i in added:
                pieces[i] = b"" if added[i]["special"] else piece.encode()
            elif self._byte_level and all(c in to_byte for c in piece):
                pieces[i] = bytes(to_byte[c] for c in piece)
            elif len(piece) == 6 and piece.startswith("<0x") and piece.endswith(">"):
                pieces[i] = byte_of_piece(piece)
            else:
                pieces[i] = piece.replace(SPACE, " ").encode()
        return pieces


def byte_level(model: tokenizers.models.BPE, words: str = "") -> tokenizers.Tokenizer:
    """A BPE model over bytes as a tokenizer. `words` is the pattern of the words that it sees one by one; "" is GPT-2's."""
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=not words)
    if words:
        split = tokenizers.pre_tokenizers.Split(tokenizers.Regex(words), behavior="isolated")
        tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Sequence([split, tokenizer.pre_tokenizer])
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    return tokenizer


def byte_characters() -> dict[int, str]:
    """GPT-2's way to print bytes: printable Latin-1 characters stand for themselves, the others for U+0100 and on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(0x100 + n) for n, byte in enumerate(others)}


def without_surrogates(text: str) -> str:
    """Without halves of surrogate pairs, which have no UTF-8 form."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def types_within(part: Any) -> set[str]:
    """The types of a component of tokenizer.json and of those within it."""
    if isinstance(part, Mapping):
        own = {part["type"]} if isinstance(part.get("type"), str) else set()
        return own.union(*map(types_within, part.values()))
    return set().union(*map(types_within, part)) if isinstance(part, list) else set()


def _parts(text: str) -> Iterator[str]:
    """The text cut after line ends that a word follows, so that no part is much longer than LONG."""
    start = 0
    while len(text) - start > LONG:
        cut = text.find("\n", start + LONG)
        while cut >= 0 and (cut + 1 < len(text) and text[cut + 1].isspace() or text[cut - 1].isspace()):
            cut = text.find("\n", cut + 1)
        if cut < 0:
            break
        yield text[start : cut + 1]
        start = cut + 1
    yield text[start:]
