"""One token a character (Unicode code point), the vocabulary being the characters of a corpus."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Int

from genjax.data.hashing import digest
from genjax.data.tokenizers.base import join_pieces, no_byte_tokens, write_manifest
from genjax.errors import DataError

CODE_POINTS = 0x110000


@dataclass(frozen=True)
class CharacterTokenizer:
    """Ids follow the order of `characters`.

    Attributes:
        characters: the vocabulary, each character once.
        add_eos: one more id, after the characters, stands before and after every document. Without it documents follow one
            another with nothing between, and the first character of each is never predicted.
    """

    characters: str
    add_eos: bool = False

    adds_bos = False

    @property
    def vocab_size(self) -> int:
        return len(self.characters) + self.add_eos

    @property
    def bos_id(self) -> int | None:
        return self.eos_id

    @property
    def eos_id(self) -> int | None:
        return len(self.characters) if self.add_eos else None

    @cached_property
    def token_bytes(self) -> Int[np.ndarray, " vocab"]:
        return np.array([len(piece) for piece in self._pieces], np.int32)

    @property
    def fingerprint(self) -> str:
        return digest("character", self.characters, str(self.add_eos))

    def encode(self, text: str) -> Int[np.ndarray, " length"]:
        """Raises DataError: a character that is not in the vocabulary, named with its place."""
        codes = _code_points(text)
        ids = self._table[np.minimum(codes, len(self._table) - 1)]
        unknown = np.flatnonzero(ids < 0)
        if len(unknown):
            place = int(unknown[0])
            raise DataError(
                f"the character {text[place]!r} (U+{ord(text[place]):04X}, character {place} of the text) is not among the "
                f"{len(self.characters)} that this character tokenizer knows: {_shown(self.characters)}. "
                "Use only these, or train with tokenizer.name='byte'."
            )
        return ids

    def encode_batch(self, texts: Sequence[str]) -> list[Int[np.ndarray, " length"]]:
        return [self.encode(text) for text in texts]

    def encode_bytes(self, content: bytes) -> Int[np.ndarray, " length"]:
        raise no_byte_tokens("character")

    def token_id(self, name: str) -> int | None:
        return None

    def decode(self, ids: Sequence[int]) -> str:
        return self.decode_bytes(ids).decode("utf-8", "replace")

    def decode_bytes(self, ids: Sequence[int]) -> bytes:
        return join_pieces(self._pieces, ids)

    def save(self, folder: Path) -> None:
        write_manifest(Path(folder), kind="character", characters=self.characters, add_eos=self.add_eos)

    @cached_property
    def _pieces(self) -> list[bytes]:
        return [c.encode("utf-8", "surrogatepass") for c in self.characters] + [b""] * self.add_eos

    @cached_property
    def _table(self) -> np.ndarray:
        """Code point to id, -1 for unknown; the last entry is always unknown and stands for all larger code points."""
        codes = _code_points(self.characters)
        table = np.full(int(codes.max(initial=0)) + 2, -1, np.int32)
        table[codes] = np.arange(len(codes), dtype=np.int32)
        return table


def train_character(texts: Iterable[str], add_eos: bool = False) -> CharacterTokenizer:
    """The tokenizer of exactly the characters that occur in `texts`, in the order of their code points."""
    seen = np.zeros(CODE_POINTS, bool)
    for text in texts:
        seen[_code_points(text)] = True
    return CharacterTokenizer("".join(map(chr, np.flatnonzero(seen).tolist())), add_eos)


def _code_points(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")


def _shown(characters: str) -> str:
    text = repr(characters[:100])[1:-1]
    return text + (" ..." if len(characters) > 100 else "")
