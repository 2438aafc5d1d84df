"""SentencePiece: a unigram or BPE model over characters, trained from the corpus or loaded from a `.model` file."""

import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import sentencepiece
from jaxtyping import Int

from genjax.data.hashing import digest
from genjax.data.tokenizers.base import byte_of_piece, join_pieces, no_byte_tokens, write_manifest
from genjax.data.tokenizers.fim import SENTINEL_NAMES
from genjax.errors import ConfigError, DataError

SPACE = "\u2581"  # how SentencePiece writes a space; the character itself would come back as one
MODEL_FILE = "tokenizer.model"
THREADS = 16  # of training and encoding; fixed, for the sums of a trained model depend on it
LONGEST_LINE = 4000  # bytes of a training sentence; SentencePiece leaves out what is longer than 4,192


@dataclass(frozen=True)
class SentencePieceTokenizer:
    """A model with its own special tokens.

    Attributes:
        model: the serialized model (the content of a `.model` file).
    """

    model: bytes = field(repr=False)

    adds_bos = True

    @property
    def vocab_size(self) -> int:
        return self._processor.get_piece_size()

    @property
    def bos_id(self) -> int | None:
        return _id_or_none(self._processor.bos_id())

    @property
    def eos_id(self) -> int | None:
        return _id_or_none(self._processor.eos_id())

    @cached_property
    def token_bytes(self) -> Int[np.ndarray, " vocab"]:
        return np.array([len(piece) for piece in self._pieces], np.int32)

    @property
    def fingerprint(self) -> str:
        return digest("sentencepiece", self.model)

    def encode(self, text: str) -> Int[np.ndarray, " length"]:
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[Int[np.ndarray, " length"]]:
        if not self._lossless:
            return [np.array(ids, np.int32) for ids in self._processor.encode(list(texts), num_threads=THREADS)]
        parts = [_clean(text).split(SPACE) for text in texts]
        encoded = iter(self._processor.encode([part for split in parts for part in split], num_threads=THREADS))
        return [self._joined([next(encoded) for _ in split]) for split in parts]

    def encode_bytes(self, content: bytes) -> Int[np.ndarray, " length"]:
        raise no_byte_tokens("sentencepiece")

    def token_id(self, name: str) -> int | None:
        """Of any piece: a model does not tell the pieces that were added to it from the others."""
        i = self._processor.piece_to_id(name)
        return None if self._processor.is_unknown(i) or self._processor.is_unused(i) else i

    def decode(self, ids: Sequence[int]) -> str:
        text = self.decode_bytes(ids).decode("utf-8", "replace")
        return text.removeprefix(" ") if self._adds_space else text

    def decode_bytes(self, ids: Sequence[int]) -> bytes:
        """As the protocol says; the space that a model may put before the first word stays (`decode` takes it away)."""
        return join_pieces(self._pieces, ids)

    def save(self, folder: Path) -> None:
        write_manifest(Path(folder), kind="sentencepiece")
        (Path(folder) / MODEL_FILE).write_bytes(self.model)

    def _joined(self, parts: Sequence[Sequence[int]]) -> np.ndarray:
        """Encoded texts with the character U+2581 between them, in bytes."""
        ids = list(parts[0])
        for part in parts[1:]:
            ids += self._space_ids
            ids += part
        return np.array(ids, np.int32)

    @cached_property
    def _processor(self) -> sentencepiece.SentencePieceProcessor:
        return sentencepiece.SentencePieceProcessor(model_proto=self.model)

    @cached_property
    def _pieces(self) -> list[bytes]:
        processor = self._processor
        return [_piece_bytes(processor, i) for i in range(processor.get_piece_size())]

    @cached_property
    def _adds_space(self) -> bool:
        return bool(self._processor.encode_as_pieces("a")[0].startswith(SPACE))

    @cached_property
    def _space_ids(self) -> list[int]:
        return [self._processor.piece_to_id(f"<0x{byte:02X}>") for byte in SPACE.encode()]

    @cached_property
    def _lossless(self) -> bool:
        """Trained by `train_sentencepiece`: bytes for every unknown character, and the text taken as it is."""
        odd = " \u00a0\ufb01  a"
        return all(map(self._processor.is_byte, self._space_ids)) and self.decode(self._processor.encode(odd)) == odd


def train_sentencepiece(texts: Iterable[str], vocab_size: int, model_type: str = "unigram") -> SentencePieceTokenizer:
    """A lossless model (no normalization, bytes for rare characters): the same texts give the same model.

    Args:
        vocab_size: pieces, with 256 bytes and `<unk> <s> </s>` among them.

    Raises:
        ConfigError: the texts have too few pieces for the vocabulary, or more characters than it has room for.
    """
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(_lines(texts)),
            model_writer=model,
            vocab_size=vocab_size,
            model_type=model_type,
            normalization_rule_name="identity",
            add_dummy_prefix=False,
            remove_extra_whitespaces=False,
            byte_fallback=True,
            character_coverage=0.9999,
            split_digits=True,
            allow_whitespace_only_pieces=True,
            num_threads=THREADS,
            minloglevel=2,
        )
    except (RuntimeError, OSError) as error:
        raise ConfigError(
            f"a SentencePiece model of data.tokenizer.vocab_size {vocab_size} cannot be trained from this text: {_reason(error)}."
        ) from error
    return SentencePieceTokenizer(model.getvalue())


def load_sentencepiece(file: Path) -> SentencePieceTokenizer:
    """Raises DataError: no such file, or not a SentencePiece model."""
    try:
        tokenizer = SentencePieceTokenizer(Path(file).read_bytes())
        _ = tokenizer.vocab_size
    except OSError as error:
        raise DataError(f"the tokenizer file {file} cannot be read: {error.strerror or error}.") from error
    except RuntimeError as error:
        raise DataError(f"{file} is not a SentencePiece model; give a .model file that SentencePiece wrote.") from error
    return tokenizer


def _lines(texts: Iterable[str]) -> Iterable[str]:
    """Training sentences: lines with their ends, long ones in parts, without the two characters that training cannot take."""
    for text in texts:
        for line in _clean(text).replace(SPACE, "").replace("\0", "").splitlines(keepends=True):
            size = LONGEST_LINE // 4 if not line.isascii() else LONGEST_LINE
            for start in range(0, len(line), size):
                yield line[start : start + size]


def _clean(text: str) -> str:
    """Without halves of surrogate pairs, which have no UTF-8 form."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def _piece_bytes(processor: sentencepiece.SentencePieceProcessor, i: int) -> bytes:
    if processor.is_control(i) or processor.is_unknown(i) or processor.is_unused(i):
        return b""
    piece = processor.id_to_piece(i)
    if piece in SENTINEL_NAMES:
        return b""
    return byte_of_piece(piece) if processor.is_byte(i) else piece.replace(SPACE, " ").encode()


def _id_or_none(i: int) -> int | None:
    return i if i >= 0 else None


def _reason(error: Exception) -> str:
    """SentencePiece's complaint in the terms of the config."""
    said = str(error).strip().split("] ")[-1]
    if least := re.search(r"required_chars. \d+ vs (\d+)", said):
        return f"bytes, specials and the text's characters need {least[1]}; use that or more"
    if most := re.search(r"value <= (\d+)", said):
        return f"it has pieces for {most[1]}; use that or less, or more text"
    return said.rstrip(".")
