"""CLIP's tokenizer: clean text in lower case, byte-level BPE within words, rows of 77 tokens (Radford et al., 2021)."""

import gzip
import html
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from jaxtyping import Int
from tokenizers import decoders, normalizers, pre_tokenizers

from genjax.data.hashing import digest
from genjax.data.tokenizers.base import no_byte_tokens, read_json, write_manifest
from genjax.data.tokenizers.bpe import BPETokenizer, byte_characters
from genjax.errors import ConfigError, DataError

START, END, WORD_END = "<|startoftext|>", "<|endoftext|>", "</w>"
LENGTH = 77
MERGES = 49152 - 256 - 2  # lines that OpenAI reads of its file, which has more
WORDS = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


@dataclass(frozen=True)
class CLIPTokenizer(BPETokenizer):
    """A BPE tokenizer whose words end in `</w>`. Decoding gives lower case, and one space after every word.

    Attributes:
        unescape: whether HTML's entities are read (`&amp;` is &), twice, as OpenAI does and transformers does not.
        fix_text: whether ftfy repairs text first, as OpenAI does; needs that package.
    """

    unescape: bool = True
    fix_text: bool = False

    @property
    def fingerprint(self) -> str:
        return digest("clip", self.serialized, repr((self.unescape, self.fix_text)))

    def encode_batch(self, texts: Sequence[str]) -> list[Int[np.ndarray, " length"]]:
        return super().encode_batch([self.clean(text) for text in texts])

    def encode_bytes(self, content: bytes) -> Int[np.ndarray, " length"]:
        raise no_byte_tokens("CLIP")

    def decode(self, ids: Sequence[int]) -> str:
        return super().decode(ids).rstrip(" ")

    def clean(self, text: str) -> str:
        """Without entities and needless spaces. Lower case is the BPE's own doing.

        Raises:
            ConfigError: `fix_text` without the package ftfy.
        """
        if self.fix_text:
            try:
                import ftfy
            except ImportError as error:
                raise ConfigError("fix_text needs the package ftfy; install it, or leave fix_text out.") from error
            text = ftfy.fix_text(text)
        if self.unescape:
            text = html.unescape(html.unescape(text))
        return " ".join(text.split())

    def rows(self, texts: Sequence[str], length: int = LENGTH, pad_with_end: bool = False) -> Int[np.ndarray, "texts length"]:
        """int32 rows that a text tower reads: start token, text, end token, padding. A text that is too long is cut.

        Args:
            pad_with_end: pad with the end token, as transformers mostly does, and not with 0, as OpenAI does. A tower that
                is read at the first end token sees no difference.

        Raises:
            ConfigError: a length without room for the start and end tokens.
        """
        if length < 2:
            raise ConfigError(f"a length of {length} has no room for the start and end tokens; use 2 or more.")
        rows = np.full((len(texts), length), self.eos_id if pad_with_end else 0, np.int32)
        for row, ids in zip(rows, self.encode_batch(texts), strict=True):
            ids = ids[: length - 2]
            row[: len(ids) + 2] = [self.bos_id, *ids, self.eos_id]
        return rows

    def save(self, folder: Path) -> None:
        """Also vocab.json, merges.txt and a tokenizer_config.json, with which transformers' CLIPTokenizer opens the folder."""
        folder = Path(folder)
        write_manifest(folder, kind="clip", unescape=self.unescape, fix_text=self.fix_text)
        model = self._description["model"]
        merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
        config = {"tokenizer_class": "CLIPTokenizer", "model_max_length": LENGTH, "bos_token": START}
        config |= dict.fromkeys(("eos_token", "pad_token", "unk_token"), END)
        for name, content in (
            ("tokenizer.json", self.serialized),
            ("vocab.json", json.dumps(model["vocab"], ensure_ascii=False)),
            ("merges.txt", "\n".join(["#version: 0.2", *merges]) + "\n"),
            ("tokenizer_config.json", json.dumps(config, indent=1)),
        ):
            (folder / name).write_text(content, encoding="utf-8")

    def __reduce__(self):
        return CLIPTokenizer, (self.serialized, self.bos_id, self.eos_id, self.adds_bos, self.unescape, self.fix_text)

    @cached_property
    def _pieces(self) -> list[bytes]:
        specials = {token["id"] for token in self._description["added_tokens"]} | {self.bos_id, self.eos_id}
        to_byte = {character: byte for byte, character in byte_characters().items()}
        pieces = [b""] * self.vocab_size
        for piece, i in self._tokenizer.get_vocab(with_added_tokens=True).items():
            if i not in specials:
                pieces[i] = bytes(to_byte[c] for c in piece.removesuffix(WORD_END)) + b" " * piece.endswith(WORD_END)
        return pieces


def load_clip(path: Path | str, unescape: bool = True, fix_text: bool = False) -> CLIPTokenizer:
    """Reads OpenAI's bpe_simple_vocab_16e6.txt.gz, a tokenizer.json, or a folder with that or with vocab.json and merges.txt.

    Raises:
        DataError: none of these, or no tokenizer of CLIP.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        if (path / "tokenizer.json").exists():
            path = path / "tokenizer.json"
        else:
            vocabulary, merges = read_json(path / "vocab.json"), _lines(path / "merges.txt")
            return _made(vocabulary, merges, path, unescape, fix_text)
    if path.suffix == ".json":
        values = read_json(path)
        if not _is_clip(values):
            raise DataError(f"{path} is no tokenizer of CLIP: its words do not end in {WORD_END}.")
        vocabulary = values["model"]["vocab"]
        return CLIPTokenizer(json.dumps(values), *_ends(vocabulary, path), True, unescape, fix_text)
    merges = _lines(path)[:MERGES]
    characters = list(byte_characters().values())
    pieces = [*characters, *(c + WORD_END for c in characters), *(merge.replace(" ", "") for merge in merges), START, END]
    return _made({piece: i for i, piece in enumerate(pieces)}, merges, path, unescape, fix_text)


def holds_clip(file: Path) -> bool:
    """Whether a tokenizer.json or a vocab.json is of CLIP."""
    values = read_json(file)
    return START in values if file.name == "vocab.json" else _is_clip(values)


def _is_clip(values: Any) -> bool:
    model = values.get("model") if isinstance(values, Mapping) else None
    return isinstance(model, Mapping) and model.get("end_of_word_suffix") == WORD_END and START in model.get("vocab", {})


def _lines(path: Path) -> list[str]:
    """The merges of a file, plain or compressed, without its first line, which names a version."""
    try:
        content = path.read_bytes()
        text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode("utf-8")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not a readable list of merges ({error}); copy or download it again.") from error
    return [line for line in text.split("\n")[1:] if line.strip()]


def _made(vocabulary: Mapping[str, int], merges: Iterable[str], where: Path, unescape: bool, fix_text: bool) -> CLIPTokenizer:
    pairs = [tuple(merge.split(" ")) for merge in merges]
    try:
        model = tokenizers.models.BPE(
            vocab=dict(vocabulary), merges=pairs, end_of_word_suffix=WORD_END, continuing_subword_prefix="", unk_token=END
        )
    except Exception as error:  # the library raises plain Exception
        raise DataError(f"{where} is not a BPE vocabulary with its merges: {error}.") from error
    ends = _ends(vocabulary, where)
    tokenizer = tokenizers.Tokenizer(model)
    spaces = normalizers.Replace(tokenizers.Regex(r"\s+"), " ")
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), spaces, normalizers.Lowercase()])
    words = pre_tokenizers.Split(tokenizers.Regex(WORDS), behavior="removed", invert=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([words, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = tokenizers.processors.RobertaProcessing(
        (END, ends[1]), (START, ends[0]), trim_offsets=False, add_prefix_space=False
    )
    tokenizer.add_special_tokens([START, END])
    return CLIPTokenizer(tokenizer.to_str(), *ends, True, unescape, fix_text)


def _ends(vocabulary: Mapping[str, int], where: Path) -> tuple[int, int]:
    if absent := [name for name in (START, END) if name not in vocabulary]:
        raise DataError(f"{where} is no tokenizer of CLIP: it lacks {' and '.join(absent)}.")
    return vocabulary[START], vocabulary[END]
