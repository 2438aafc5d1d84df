"""One token a UTF-8 byte, and one that separates documents."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int

from genjax.data.hashing import digest
from genjax.data.tokenizers.base import write_manifest

SEPARATOR = 256


@dataclass(frozen=True)
class ByteTokenizer:
    """Ids 0-255 are bytes; 256 stands before and after every document."""

    vocab_size = 257
    bos_id = SEPARATOR
    eos_id = SEPARATOR
    adds_bos = False

    @property
    def token_bytes(self) -> Int[np.ndarray, " vocab"]:
        return np.where(np.arange(self.vocab_size) < SEPARATOR, 1, 0).astype(np.int32)

    @property
    def fingerprint(self) -> str:
        return digest("byte", str(SEPARATOR))

    def encode(self, text: str) -> Int[np.ndarray, " length"]:
        return np.frombuffer(text.encode("utf-8", "surrogatepass"), np.uint8).astype(np.int32)

    def encode_batch(self, texts: Sequence[str]) -> list[Int[np.ndarray, " length"]]:
        return [self.encode(text) for text in texts]

    def decode(self, ids: Sequence[int]) -> str:
        return self.decode_bytes(ids).decode("utf-8", "replace")

    def decode_bytes(self, ids: Sequence[int]) -> bytes:
        ids = np.asarray(ids, dtype=np.int64)
        return ids[(ids >= 0) & (ids < SEPARATOR)].astype(np.uint8).tobytes()

    def save(self, folder: Path) -> None:
        write_manifest(Path(folder), kind="byte")
