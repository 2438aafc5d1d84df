"""Byte-level BPE (GPT-2's vocab.json and merges.txt, or trained from the corpus) and any BPE or unigram tokenizer.json."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from jaxtyping import Int

from genjax.data.hashing import digest
from genjax.data.tokenizers.base import byte_of_piece, join_pieces, read_json, write_manifest
from genjax.errors import ConfigError, DataError

SEPARATOR = "<|endoftext|>"  # GPT-2's one special, before and after a document
SPACE = "\u2581"
LINE_ENDS = r"\s*[\r\n]+"  # the part of Llama 3's word pattern that takes line ends
LONG = 1 << 18  # characters: a byte-level text longer than this is encoded in parts, by several threads
# What well-known tokenizers call the ends of a text, for folders that do not say.
USUAL_BOS = ("<|begin_of_text|>", "<s>", SEPARATOR)
USUAL_EOS = ("<|end_of_text|>", "</s>", SEPARATOR)


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
        parts = [list(_parts(text)) if self._splits_at_lines else [text] for text in map(_clean, texts)]
        encoded = self._tokenizer.encode_batch_fast([p for text in parts for p in text], add_special_tokens=False)
        ids = iter(np.array(encoding.ids, np.int32) for encoding in encoded)
        return [np.concatenate([next(ids) for _ in text]) for text in parts]

    def decode(self, ids: Sequence[int]) -> str:
        if self._byte_level:
            return self.decode_bytes(ids).decode("utf-8", "replace")
        known = [i for i in np.asarray(ids, np.int64).tolist() if 0 <= i < self.vocab_size]
        return self._tokenizer.decode(known, skip_special_tokens=True)

    def decode_bytes(self, ids: Sequence[int]) -> bytes:
        """As the protocol says; the space that a model may put before the first word stays (`decode` takes it away)."""
        return join_pieces(self._pieces, ids)

    def save(self, folder: Path) -> None:
        """Also a tokenizer_config.json, with which Hugging Face's AutoTokenizer opens the folder."""
        folder = Path(folder)
        write_manifest(folder, kind="bpe", bos_id=self.bos_id, eos_id=self.eos_id, adds_bos=self.adds_bos)
        (folder / "tokenizer.json").write_text(self.serialized, encoding="utf-8")
        ends = {"bos_token": self.bos_id, "eos_token": self.eos_id}
        tokens = {name: self._tokenizer.id_to_token(i) for name, i in ends.items() if i is not None}
        config = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False, **tokens}
        (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")

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
        return "ByteLevel" in _types(self._description["decoder"])

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


def train_bpe(texts: Iterable[str], vocab_size: int) -> BPETokenizer:
    """Byte-level BPE with GPT-2's word pattern: every byte is a token, so every text can be encoded.

    Args:
        vocab_size: at most this many ids (fewer when the texts have no more pairs), 256 bytes and the separator among them.

    Raises:
        ConfigError: no room for these 257.
    """
    if vocab_size < 257:
        raise ConfigError(
            f"data.tokenizer.vocab_size is {vocab_size}, but byte-level BPE needs at least 257 (256 bytes, 1 separator)."
        )
    tokenizer = _byte_level(tokenizers.models.BPE())
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[SEPARATOR],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(map(_clean, texts), trainer)
    separator = tokenizer.token_to_id(SEPARATOR)
    return BPETokenizer(tokenizer.to_str(), separator, separator, adds_bos=False)


def load_gpt2_files(folder: Path) -> BPETokenizer:
    """GPT-2's vocab.json and merges.txt. Raises DataError: one is missing, or they do not go together."""
    try:
        model = tokenizers.models.BPE.from_file(str(folder / "vocab.json"), str(folder / "merges.txt"))
    except Exception as error:  # the library raises plain Exception
        raise DataError(f"vocab.json and merges.txt in {folder} are not a BPE vocabulary with its merges: {error}.") from error
    tokenizer = _byte_level(model)
    if tokenizer.token_to_id(SEPARATOR) is not None:
        tokenizer.add_special_tokens([SEPARATOR])
    return _with_ends(tokenizer, folder)


def load_tokenizer_json(file: Path) -> BPETokenizer:
    """A tokenizer.json; the files beside it say which tokens begin and end a text.

    Raises:
        DataError: not such a file, or a kind of tokenizer whose tokens are not pieces of the text (WordPiece).
    """
    try:
        tokenizer = tokenizers.Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises plain Exception
        raise DataError(f"{file} is not a tokenizer.json that the tokenizers library reads: {error}.") from error
    description = json.loads(tokenizer.to_str())
    decoders = _types(description["decoder"])
    if not decoders & {"ByteLevel", "Metaspace", "ByteFallback"}:
        raise DataError(
            f"{file} holds a {description['model'].get('type')} tokenizer with the decoder {', '.join(sorted(decoders))}; "
            "genjax reads byte-level BPE (GPT-2, Llama 3) and SentencePiece-like ones (Llama 2)."
        )
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return _with_ends(tokenizer, file.parent)


def byte_characters() -> dict[int, str]:
    """GPT-2's way to print bytes: printable Latin-1 characters stand for themselves, the others for U+0100 and on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(0x100 + n) for n, byte in enumerate(others)}


def _byte_level(model: tokenizers.models.BPE) -> tokenizers.Tokenizer:
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    return tokenizer


def _with_ends(tokenizer: tokenizers.Tokenizer, folder: Path) -> BPETokenizer:
    said = {}
    for name in ("config.json", "special_tokens_map.json", "tokenizer_config.json"):  # the later ones are nearer to the text
        if (folder / name).exists():
            said |= {key: value for key, value in read_json(folder / name).items() if value is not None}
    bos, eos = _end(tokenizer, said, "bos", USUAL_BOS), _end(tokenizer, said, "eos", USUAL_EOS)
    first = tokenizer.encode("a", add_special_tokens=True).ids[:1]
    adds_bos = bool(said.get("add_bos_token", bos is not None and first == [bos]))
    return BPETokenizer(tokenizer.to_str(), bos, eos, adds_bos and bos is not None)


def _end(tokenizer: tokenizers.Tokenizer, said: Mapping[str, Any], which: str, usual: Sequence[str]) -> int | None:
    """The id of bos or eos: by name from the tokenizer's files, by id from the model's, or by a usual name."""
    token = said.get(f"{which}_token")
    token = token.get("content") if isinstance(token, Mapping) else token
    if token is not None and tokenizer.token_to_id(token) is not None:
        return tokenizer.token_to_id(token)
    number = said.get(f"{which}_token_id")
    number = number[0] if isinstance(number, list) and number else number
    if isinstance(number, int) and tokenizer.id_to_token(number) is not None:
        return number
    return next((tokenizer.token_to_id(name) for name in usual if tokenizer.token_to_id(name) is not None), None)


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


def _clean(text: str) -> str:
    """Without halves of surrogate pairs, which have no UTF-8 form."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def _types(part: Any) -> set[str]:
    """The types of a component of tokenizer.json and of those within it."""
    if isinstance(part, Mapping):
        own = {part["type"]} if isinstance(part.get("type"), str) else set()
        return own.union(*map(_types, part.values()))
    return set().union(*map(_types, part)) if isinstance(part, list) else set()
