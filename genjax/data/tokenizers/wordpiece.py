"""WordPiece, BERT's tokenizer: words from a normalized text, each cut into the longest pieces that the vocabulary has.

Normalizing loses letter case (where it lowers), accents and the amount of white space: a text does not come back as it was.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tokenizers
from jaxtyping import Int

from genjax.data.hashing import digest
from genjax.data.tokenizers.base import join_pieces, no_byte_tokens, read_json, write_manifest
from genjax.data.tokenizers.bpe import without_surrogates
from genjax.errors import ConfigError, DataError

VOCABULARY = "vocab.txt"
# By the names that Hugging Face's files give them. The order is that of the ids of a trained vocabulary.
SPECIALS = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
INSIDE = "##"  # how a piece begins that does not begin a word
ALPHABET = 1000  # characters that a trained vocabulary has at most; the rarer ones are unknown


class TextBatch(NamedTuple):
    """Texts as BERT reads them, each `[CLS] text [SEP]` or `[CLS] first [SEP] second [SEP]`, padded to the longest.

    Attributes:
        tokens: int32 ids.
        token_types: 0 for the first text of a pair, 1 for the second.
        segment_ids: 1 for tokens, 0 for padding.
    """

    tokens: Int[np.ndarray, "batch length"]
    token_types: Int[np.ndarray, "batch length"]
    segment_ids: Int[np.ndarray, "batch length"]


@dataclass(frozen=True)
class WordPieceTokenizer:
    """A WordPiece tokenizer of the `tokenizers` library.

    Attributes:
        serialized: the content of a tokenizer.json file.
        cls_id, sep_id: what stands before a text and after it; also `bos_id` and `eos_id`.
        mask_id: what takes the place of a word that a model is to say.
        pad_id: what fills a row up.
    """

    serialized: str = field(repr=False)
    cls_id: int | None
    sep_id: int | None
    mask_id: int | None
    pad_id: int | None

    @property
    def bos_id(self) -> int | None:
        return self.cls_id

    @property
    def eos_id(self) -> int | None:
        return self.sep_id

    @property
    def adds_bos(self) -> bool:
        return self.cls_id is not None

    @cached_property
    def vocab_size(self) -> int:
        return max(self._tokenizer.get_vocab(with_added_tokens=True).values()) + 1

    @cached_property
    def token_bytes(self) -> Int[np.ndarray, " vocab"]:
        return np.array([len(piece) for piece in self._pieces], np.int32)

    @property
    def fingerprint(self) -> str:
        return digest("wordpiece", self.serialized, repr((self.cls_id, self.sep_id, self.mask_id, self.pad_id)))

    def encode(self, text: str) -> Int[np.ndarray, " length"]:
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[Int[np.ndarray, " length"]]:
        encoded = self._tokenizer.encode_batch_fast([without_surrogates(text) for text in texts], add_special_tokens=False)
        return [np.array(encoding.ids, np.int32) for encoding in encoded]

    def encode_bytes(self, content: bytes) -> Int[np.ndarray, " length"]:
        raise no_byte_tokens("wordpiece")

    def batch(self, texts: Sequence[str], seconds: Sequence[str] | None = None, max_length: int = 512) -> TextBatch:
        """Texts, or pairs of them, with their specials in one padded batch.

        Args:
            texts: at least one.
            seconds: as many; None for single texts.
            max_length: of a row. What is longer loses its end, of a pair the longer text first.

        Raises:
            ConfigError: no texts, another number of seconds, or a max_length without room for the specials.
        """
        if not texts or seconds is not None and len(seconds) != len(texts):
            raise ConfigError(f"{len(texts)} texts and {len(seconds or [])} second ones are no batch; give as many of both.")
        before, after = ([] if i is None else [i] for i in (self.cls_id, self.sep_id))
        pairs = seconds is not None
        room = max_length - len(before) - len(after) * (1 + pairs)
        if room < 1 + pairs:
            raise ConfigError(f"max_length {max_length} leaves no room for text beside the special tokens.")
        firsts, others = self.encode_batch(texts), self.encode_batch(seconds) if pairs else [None] * len(texts)
        rows, lengths = [], []
        for first, other in zip(firsts, others, strict=True):
            kept, rest = _shares(len(first), len(other) if pairs else 0, room)
            row = [*before, *first[:kept], *after]
            lengths.append(len(row))
            rows.append(row + ([*other[:rest], *after] if pairs else []))
        width = max(map(len, rows))
        tokens = np.full((len(rows), width), self.pad_id or 0, np.int32)
        for i, row in enumerate(rows):
            tokens[i, : len(row)] = row
        places = np.arange(width)
        segment_ids = places < np.array([len(row) for row in rows])[:, None]
        token_types = segment_ids & (places >= np.array(lengths)[:, None])
        return TextBatch(tokens, token_types.astype(np.int32), segment_ids.astype(np.int32))

    def token_id(self, name: str) -> int | None:
        return next((token["id"] for token in self._description["added_tokens"] if token["content"] == name), None)

    def decode(self, ids: Sequence[int]) -> str:
        known = [i for i in np.asarray(ids, np.int64).tolist() if 0 <= i < self.vocab_size]
        return self._tokenizer.decode(known, skip_special_tokens=True)

    def decode_bytes(self, ids: Sequence[int]) -> bytes:
        """As the protocol says: a space before every word, and before punctuation too (`decode` takes that away)."""
        return join_pieces(self._pieces, ids)

    def save(self, folder: Path) -> None:
        """Also a tokenizer_config.json, with which Hugging Face's AutoTokenizer opens the folder and knows its specials."""
        folder = Path(folder)
        ids = {name: getattr(self, f"{name}_id") for name in ("cls", "sep", "mask", "pad")}
        write_manifest(folder, kind="wordpiece", **{f"{name}_id": i for name, i in ids.items()})
        (folder / "tokenizer.json").write_text(self.serialized, encoding="utf-8")
        named: dict[str, Any] = {f"{name}_token": self._tokenizer.id_to_token(i) for name, i in ids.items() if i is not None}
        named["unk_token"] = self._description["model"]["unk_token"]
        config = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False, **named}
        (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")

    def __reduce__(self):
        # `encode_special_tokens` is not pickled with the library's object
        return WordPieceTokenizer, (self.serialized, self.cls_id, self.sep_id, self.mask_id, self.pad_id)

    @cached_property
    def _tokenizer(self) -> tokenizers.Tokenizer:
        tokenizer = tokenizers.Tokenizer.from_str(self.serialized)
        tokenizer.encode_special_tokens = True  # a special's name in a text is text
        return tokenizer

    @cached_property
    def _description(self) -> Mapping[str, Any]:
        return json.loads(self.serialized)

    @cached_property
    def _pieces(self) -> list[bytes]:
        specials = {token["id"] for token in self._description["added_tokens"] if token["special"]}
        inside = self._description["model"]["continuing_subword_prefix"]
        pieces = [b""] * self.vocab_size
        for piece, i in self._tokenizer.get_vocab(with_added_tokens=True).items():
            if i not in specials:
                pieces[i] = (piece.removeprefix(inside) if piece.startswith(inside) else " " + piece).encode()
        return pieces


def train_wordpiece(texts: Iterable[str], vocab_size: int, lowercase: bool = True) -> WordPieceTokenizer:
    """A vocabulary of the texts, normalized as BERT's. The same texts give the same tokenizer.

    Args:
        vocab_size: at most this many ids (fewer when the texts have no more pairs): five specials, characters at the beginning of
            a word and within one, and pieces.
        lowercase: letters lose their case and their accents.

    Raises:
        ConfigError: no room for specials and characters.
    """
    said, texts = {"do_lower_case": lowercase}, [without_surrogates(text) for text in texts]
    tokenizer = _bert(tokenizers.models.WordPiece(unk_token=SPECIALS["unk"]), said)
    alphabet, inside = _alphabet(tokenizer, texts)
    # The library numbers characters within words as it comes upon them, another way each time, and breaks ties by number. Given
    # as specials they have their numbers beforehand.
    fixed = [*SPECIALS.values(), *inside]
    if vocab_size < len(fixed) + len(alphabet):
        raise ConfigError(
            f"data.tokenizer.vocab_size is {vocab_size}, but the specials and the characters of this text alone are "
            f"{len(fixed) + len(alphabet)}; use that or more."
        )
    trainer = tokenizers.trainers.WordPieceTrainer(
        vocab_size=vocab_size,
        special_tokens=fixed,
        initial_alphabet=alphabet,
        limit_alphabet=len(alphabet),
        continuing_subword_prefix=INSIDE,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    vocabulary = json.loads(tokenizer.to_str())["model"]["vocab"]
    return _with_specials(_bert(tokenizers.models.WordPiece(vocabulary, unk_token=SPECIALS["unk"]), said), {})


def _alphabet(tokenizer: tokenizers.Tokenizer, texts: Iterable[str]) -> tuple[list[str], list[str]]:
    """The most frequent characters of the words, and the pieces of those that stand within words; both in fixed order."""
    words: Counter[str] = Counter()
    for text in texts:
        normalized = tokenizer.normalizer.normalize_str(text)
        words.update(word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(normalized))
    characters: Counter[str] = Counter()
    for word, count in words.items():
        for character in word:
            characters[character] += count
    alphabet = sorted(sorted(characters), key=characters.__getitem__, reverse=True)[:ALPHABET]
    within = {character for word in words for character in word[1:]}
    return sorted(alphabet), [INSIDE + character for character in sorted(within.intersection(alphabet))]


def holds_wordpiece(file: Path) -> bool:
    """Whether a tokenizer.json is WordPiece's. Raises DataError when it cannot be read."""
    content = read_json(file)
    model = content.get("model") if isinstance(content, Mapping) else None
    return isinstance(model, Mapping) and "max_input_chars_per_word" in model  # old files do not name the type


def load_wordpiece_json(file: Path) -> WordPieceTokenizer:
    """A tokenizer.json; the files beside it name the specials.

    Raises:
        DataError: not such a file.
    """
    try:
        tokenizer = tokenizers.Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises plain Exception
        raise DataError(f"{file} is not a tokenizer.json that the tokenizers library reads: {error}.") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return _with_specials(tokenizer, _said(file.parent))


def load_vocabulary(file: Path) -> WordPieceTokenizer:
    """A vocab.txt, one piece a line; tokenizer_config.json beside it says how text is normalized (default: lower case).

    Raises:
        DataError: no such file, or none with the token for unknown words.
    """
    said = _said(file.parent)
    unknown = _name(said, "unk")
    try:
        model = tokenizers.models.WordPiece.from_file(str(file), unk_token=unknown)
    except Exception as error:  # the library raises plain Exception
        raise DataError(f"{file} is not a vocabulary that the tokenizers library reads: {error}.") from error
    tokenizer = _bert(model, said)
    if tokenizer.token_to_id(unknown) is None:
        raise DataError(f"{file} has no {unknown}, the token for unknown words; it is not a WordPiece vocabulary.")
    return _with_specials(tokenizer, said)


def _bert(model: tokenizers.models.WordPiece, said: Mapping[str, Any]) -> tokenizers.Tokenizer:
    """A model with BERT's normalizer and words."""
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.normalizer = tokenizers.normalizers.BertNormalizer(
        clean_text=True,
        handle_chinese_chars=said.get("tokenize_chinese_chars", True),
        strip_accents=said.get("strip_accents"),
        lowercase=said.get("do_lower_case", True),
    )
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = tokenizers.decoders.WordPiece(prefix=INSIDE)
    return tokenizer


def _with_specials(tokenizer: tokenizers.Tokenizer, said: Mapping[str, Any]) -> WordPieceTokenizer:
    """The tokenizer with its specials known as such, and the template `[CLS] text [SEP]` where it has none."""
    names = {kind: _name(said, kind) for kind in SPECIALS}
    tokenizer.add_special_tokens([name for name in names.values() if tokenizer.token_to_id(name) is not None])
    ids = {kind: tokenizer.token_to_id(name) for kind, name in names.items()}
    if tokenizer.post_processor is None and ids["cls"] is not None and ids["sep"] is not None:
        ends = (names["cls"], ids["cls"]), (names["sep"], ids["sep"])
        single = f"{names['cls']} $A {names['sep']}"
        pair = f"{single} $B:1 {names['sep']}:1"
        tokenizer.post_processor = tokenizers.processors.TemplateProcessing(single=single, pair=pair, special_tokens=list(ends))
    return WordPieceTokenizer(tokenizer.to_str(), ids["cls"], ids["sep"], ids["mask"], ids["pad"])


def _said(folder: Path) -> dict[str, Any]:
    """What the files beside a vocabulary say; the later ones are nearer to the text."""
    said: dict[str, Any] = {}
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        if (folder / name).exists():
            said |= read_json(folder / name)
    return said


def _name(said: Mapping[str, Any], kind: str) -> str:
    token = said.get(f"{kind}_token")
    return (token.get("content") if isinstance(token, Mapping) else token) or SPECIALS[kind]


def _shares(first: int, second: int, room: int) -> tuple[int, int]:
    """How many tokens of two texts are kept where both do not fit: the longer one gives way, then both to equal parts."""
    if first + second <= room:
        return first, second
    short = min(first, second, room // 2)
    return (short, room - short) if first <= second else (room - short, short)
