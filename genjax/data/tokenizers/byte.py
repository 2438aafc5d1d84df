"""One token a UTF-8 byte, one that separates documents, and on request the sentinels of fill-in-the-middle."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int

from genjax.data.hashing import digest
from genjax.data.tokenizers.base import write_manifest
from genjax.data.tokenizers.fim import FIM_TOKENS

SEPARATOR = 256


@dataclass(frozen=True)
class ByteTokenizer:
    """Ids 0-255 are bytes; 256 stands before and after every document.

    Attributes:
        fim_tokens: ids 257-260 are <fim_prefix>, <fim_middle>, <fim_suffix> and <fim_pad>.
    """

    fim_tokens: bool = False

    bos_id = SEPARATOR
    eos_id = SEPARATOR
    adds_bos = False

    @property
    def vocab_size(self) -> int:
        return SEPARATOR + 1 + (len(FIM_TOKENS) if self.fim_tokens else 0)

    @property
    def token_bytes(self) -> Int[np.ndarray, " vocab"]:
        return np.where(np.arange(self.vocab_size) < SEPARATOR, 1, 0).astype(np.int32)

    @property
    def fingerprint(self) -> str:
        return digest("byte", str(SEPARATOR), *(FIM_TOKENS if self.fim_tokens else ()))

    def encode(self, text: str) -> Int[np.ndarray, " length"]:
        return self.encode_bytes(text.encode("utf-8", "surrogatepass"))

    def encode_batch(self, texts: Sequence[str]) -> list[Int[np.ndarray, " length"]]:
        return [self.encode(text) for text in texts]

    def encode_bytes(self, content: bytes) -> Int[np.ndarray, " length"]:
        return np.frombuffer(content, np.uint8).astype(np.int32)

    def token_id(self, name: str) -> int | None:
        return SEPARATOR + 1 + FIM_TOKENS.index(name) if self.fim_tokens and name in FIM_TOKENS else None

    def decode(self, ids: Sequence[int]) -> str:
        return self.decode_bytes(ids).decode("utf-8", "replace")

    def decode_bytes(self, ids: Sequence[int]) -> bytes:
        ids = np.asarray(ids, dtype=np.int64)
        return ids[(ids >= 0) & (ids < SEPARATOR)].astype(np.uint8).tobytes()

    def save(self, folder: Path) -> None:
        write_manifest(Path(folder), kind="byte", fim_tokens=self.fim_tokens)
