"""What every tokenizer can do, and what the kinds share: decoding through a table of bytes, the manifest file."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from jaxtyping import Int

from genjax.errors import ConfigError, DataError

MANIFEST = "genjax_tokenizer.json"  # beside the tokenizer's own files: which kind it is, and its special tokens


class Tokenizer(Protocol):
    """Text to token ids and back.

    Attributes:
        vocab_size: one more than the largest id.
        bos_id, eos_id: ids that stand before and after a document, or None. They may be the same id (GPT-2).
        adds_bos: True where a prompt should begin with `bos_id` (Llama's convention; `encode` itself never adds a special).
        token_bytes: int32 [vocab_size], the number of UTF-8 bytes that each token stands for; 0 for specials.
        fingerprint: 16 hex digits; equal exactly when two tokenizers give the same ids.
    """

    @property
    def vocab_size(self) -> int: ...

    @property
    def bos_id(self) -> int | None: ...

    @property
    def eos_id(self) -> int | None: ...

    @property
    def adds_bos(self) -> bool: ...

    @property
    def token_bytes(self) -> Int[np.ndarray, " vocab"]: ...

    @property
    def fingerprint(self) -> str: ...

    def encode(self, text: str) -> Int[np.ndarray, " length"]:
        """int32 ids of the text alone: no specials are added, and a special's name within the text is ordinary text."""

    def encode_batch(self, texts: Sequence[str]) -> list[Int[np.ndarray, " length"]]:
        """`encode` of each text, as fast as the kind can."""

    def encode_bytes(self, content: bytes) -> Int[np.ndarray, " length"]:
        """int32 ids of bytes: the stretches that are UTF-8 as `encode` writes them, every other byte by its own token, so that
        `decode_bytes` gives the content back.

        Raises:
            ConfigError: a kind that has no tokens for bytes. The byte tokenizer and byte-level BPE have them.
        """

    def token_id(self, name: str) -> int | None:
        """The id of a special or added token by its name ("<|endoftext|>", "<fim_prefix>"); None where there is none."""

    def decode(self, ids: Sequence[int]) -> str:
        """The text; specials vanish, and bytes that are not UTF-8 become U+FFFD."""

    def decode_bytes(self, ids: Sequence[int]) -> bytes:
        """The bytes, token by token: `decode_bytes(a + b) == decode_bytes(a) + decode_bytes(b)`, so a stream can be written
        piece by piece."""

    def save(self, folder: Path) -> None:
        """Writes what `load_tokenizer(folder)` reads."""


def join_pieces(pieces: Sequence[bytes], ids: Sequence[int]) -> bytes:
    """The bytes of the tokens in a row. An id beyond the table (a padded embedding's) stands for nothing."""
    size = len(pieces)
    return b"".join(pieces[i] for i in np.asarray(ids, dtype=np.int64).tolist() if 0 <= i < size)


def no_byte_tokens(kind: str) -> ConfigError:
    """The error of a tokenizer that cannot `encode_bytes`."""
    return ConfigError(
        f"a {kind} tokenizer has no token for each byte, which cutting text at any character needs; "
        "use data.tokenizer.name 'bpe' or 'byte'."
    )


def byte_of_piece(piece: str) -> bytes:
    """The byte that a fallback piece such as `<0x0A>` names."""
    return bytes([int(piece[3:-1], 16)])


def write_manifest(folder: Path, **values: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST).write_text(json.dumps(values, indent=1), encoding="utf-8")


def read_json(path: Path) -> Any:
    """The content of a JSON file. Raises DataError when it cannot be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist.") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is not a readable JSON file ({error}); restore it or remove it.") from error
