"""Rows in which some pieces of documents are rewritten so that a model learns to fill in the middle (Bavarian et al., 2022).

A piece is what a row holds of one document. Rewriting comes after documents have been cut into pieces (the paper's "context
level"), so prefix, middle and suffix of a piece always stand in one row, and the cuts fall between any two characters.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int

from genjax.data.rows import Rows
from genjax.data.tokenizers.base import Tokenizer
from genjax.data.tokenizers.fim import FIM_TOKENS, Sentinels, find_sentinels
from genjax.errors import ConfigError

STREAM = 0x66696D  # sets these random numbers apart from others that are drawn from a run's seed
ADDED = 4  # tokens of a rewritten piece that are not its text: three sentinels and the end of text
WORD = 0xFFFFFFFFFFFFFFFF


@dataclass(frozen=True)
class FimConfig:
    """The config section `data.fim`: fill-in-the-middle. Held-out rows are never rewritten."""

    rate: float = 0.5  # the part of the pieces that is rewritten; up to 0.9 costs reading from left to right next to nothing
    spm_rate: float = 0.5  # the part of those that has its suffix first (SPM: suffix, prefix, middle); the rest is PSM
    # The part of those whose middle is one whole line; the rest is cut at any two characters.
    line_rate: float = field(default=0.0, repr=False)

    def __post_init__(self):
        for name in ("rate", "spm_rate", "line_rate"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"data.fim.{name} is {getattr(self, name)}; it must be between 0 and 1.")

    @property
    def settings(self) -> str:
        """For a fingerprint; a key that came later has its part in it where it is set, so that earlier runs go on."""
        return f"{self!r}{f', line_rate={self.line_rate}' if self.line_rate else ''}"


def no_sentinels() -> ConfigError:
    return ConfigError(
        f"data.fim needs a tokenizer with sentinels ({', '.join(FIM_TOKENS[:3])} or those of a published model), and this one "
        "has none; set data.tokenizer.fim_tokens=True, or data.fim.rate=0."
    )


def check_fim(tokenizer: Tokenizer) -> Sentinels:
    """The sentinels of a tokenizer that fill-in-the-middle can be trained with.

    Raises:
        ConfigError: it has no sentinels, no end of text, or no token for each byte.
    """
    sentinels = find_sentinels(tokenizer)
    if sentinels is None:
        raise no_sentinels()
    if tokenizer.eos_id is None:
        raise ConfigError("data.fim needs a tokenizer with an end-of-text token, and this one has none; use another.")
    tokenizer.encode_bytes(b"")
    return sentinels


@dataclass(frozen=True, eq=False)
class FimRows:
    """The rows of `rows`, of whose pieces about `config.rate` are rewritten:

        [bos] <prefix> P <suffix> S <middle> M eos        (PSM)
        [bos] <prefix> <suffix> S <middle> P M eos        (SPM)

    where P M S is the text of the piece, and bos is there where the piece begins with it. M lies between two places drawn evenly
    from those between characters or, in `config.line_rate` of them, is one of the lines that are not blank, all as likely,
    without its line end. The text loses as much at its end as the result would else be longer than the piece; what the result
    lacks is padding (0 in every column) before the next piece. What decides is drawn from (seed, epoch, row) alone.

    All of the piece is learned except whether it is a rewritten one: the loss leaves out <prefix> after bos.

    Raises:
        ConfigError: see `check_fim`.
    """

    rows: Rows
    tokenizer: Tokenizer
    config: FimConfig
    seed: int

    def __post_init__(self):
        check_fim(self.tokenizer)

    @property
    def num_rows(self) -> int:
        return self.rows.num_rows

    @property
    def columns(self) -> Mapping[str, tuple[tuple[int, ...], np.dtype]]:
        return self.rows.columns

    @cached_property
    def sentinels(self) -> Sentinels:
        return check_fim(self.tokenizer)

    def fetch(self, epochs: Int[np.ndarray, " rows"], rows: Int[np.ndarray, " rows"]) -> dict[str, np.ndarray]:
        batch = {name: np.array(values) for name, values in self.rows.fetch(epochs, rows).items()}
        starts, ends = piece_bounds(batch["tokens"], batch["segment_ids"], self.tokenizer.bos_id, self.tokenizer.eos_id)
        counts = np.bincount(starts // batch["tokens"].shape[1], minlength=len(rows))
        draws = np.concatenate([_draws(self.seed, *row) for row in zip(epochs, rows, counts, strict=True)])
        flat = {name: values.reshape(-1) for name, values in batch.items()}
        chosen = np.flatnonzero(draws[:, 0] < self.config.rate)
        cut = [self._cut(flat, int(starts[i]), int(ends[i]), draws[i, 1:]) for i in chosen]
        pieces = [piece for piece in cut if piece is not None]
        ids = iter(self._encode([part for piece in pieces for part in piece.parts]))
        for piece in pieces:
            self._write(flat, piece, next(ids), next(ids), next(ids))
        return batch

    def _cut(self, flat: Mapping[str, np.ndarray], start: int, end: int, draws: Float[np.ndarray, " 4"]) -> "_Piece | None":
        """None for a piece that is too short to be rewritten."""
        tokens = np.append(flat["tokens"][start:end], flat["targets"][end - 1])
        bos, eos = self.tokenizer.bos_id, self.tokenizer.eos_id
        begins, ends = int(tokens[0] == bos), int(tokens[-1] == eos)
        room = len(tokens) - begins - ADDED
        content = self.tokenizer.decode_bytes(tokens[begins : len(tokens) - ends][: max(0, room)])
        if not content:
            return None
        lines = _lines(content) if draws[3] < self.config.line_rate else []
        low, high = lines[int(draws[1] * len(lines))] if lines else _between_characters(content, draws[1:3])
        parts = (content[:low], content[low:high], content[high:])
        return _Piece(start, end, begins, room, bool(draws[0] < self.config.spm_rate), parts)

    def _encode(self, parts: Sequence[bytes]) -> list[np.ndarray]:
        """`encode_bytes` of each; what is text, and nearly all of it is, in one batch."""
        texts, found = {}, {}
        for place, part in enumerate(parts):
            try:
                texts[place] = part.decode()
            except UnicodeDecodeError:  # the piece begins or ends within a character
                found[place] = self.tokenizer.encode_bytes(part)
        found |= zip(texts, self.tokenizer.encode_batch(list(texts.values())), strict=True)
        return [found[place] for place in range(len(parts))]

    def _write(
        self, flat: Mapping[str, np.ndarray], piece: "_Piece", prefix: np.ndarray, middle: np.ndarray, suffix: np.ndarray
    ) -> None:
        # Words that the cuts broke may have become more tokens: the text gives way at its end.
        suffix = suffix[: max(0, piece.room - len(prefix) - len(middle))]
        middle = middle[: max(0, piece.room - len(prefix))]
        prefix = prefix[: piece.room]
        s, eos = self.sentinels, self.tokenizer.eos_id
        begin = [self.tokenizer.bos_id] if piece.begins else []
        if piece.suffix_first:
            parts = (begin, [s.prefix, s.suffix], suffix, [s.middle], prefix, middle, [eos])
        else:
            parts = (begin, [s.prefix], prefix, [s.suffix], suffix, [s.middle], middle, [eos])
        sequence = np.concatenate([np.asarray(part, np.int32) for part in parts])
        used = piece.start + len(sequence) - 1
        flat["tokens"][piece.start : used] = sequence[:-1]
        flat["targets"][piece.start : used] = sequence[1:]
        flat["loss_mask"][piece.start] = 0 if piece.begins else 1
        for values in flat.values():
            values[used : piece.end] = 0


@dataclass(frozen=True)
class _Piece:
    """A piece that is to be rewritten.

    Attributes:
        start, end: its predictions' places in the flattened batch.
        begins: 1 where its first token is bos, else 0.
        room: how many tokens of text fit.
        parts: text before, between and after the cuts.
    """

    start: int
    end: int
    begins: int
    room: int
    suffix_first: bool
    parts: tuple[bytes, bytes, bytes]


def piece_bounds(
    tokens: Int[np.ndarray, "rows length"], segment_ids: Int[np.ndarray, "rows length"], bos: int | None, eos: int | None
) -> tuple[Int[np.ndarray, " pieces"], Int[np.ndarray, " pieces"]]:
    """Where the documents in rows begin and end, as (first places, places after the last) of the flattened rows.

    Packed rows tell by their segments, windows of a stream by bos and eos. Where these are two tokens, the eos that predicts the
    next document's bos belongs to no piece.
    """
    inside = (segment_ids > 0) & ((tokens != eos) | (bos == eos))
    begins = np.ones(tokens.shape, bool)
    begins[:, 1:] = (segment_ids[:, 1:] != segment_ids[:, :-1]) | ~inside[:, :-1] | (tokens[:, 1:] == bos)
    starts = np.flatnonzero(begins & inside)
    stops = np.append(np.flatnonzero(begins | ~inside), tokens.size)
    return starts, stops[np.searchsorted(stops, starts, side="right")]


def _between_characters(content: bytes, draws: Float[np.ndarray, " 2"]) -> tuple[int, int]:
    first_bytes = (np.frombuffer(content, np.uint8) & 0xC0) != 0x80  # of characters, in UTF-8
    first_bytes[0] = True
    places = np.append(np.flatnonzero(first_bytes), len(content))
    low, high = np.sort(places[(draws * len(places)).astype(int)])
    return int(low), int(high)


def _lines(content: bytes) -> list[tuple[int, int]]:
    """Where the lines that are not blank begin and end; a piece may begin or end within one."""
    return [match.span() for match in re.finditer(rb"[^\n]*[^\s][^\n]*", content)]


def _draws(seed: int, epoch: int, row: int, pieces: int) -> Float[np.ndarray, "pieces 5"]:
    """For each piece of a row: whether it is rewritten, in which order, the two cuts, and whether the middle is a line; in
    [0, 1)."""
    generator = np.random.Generator(np.random.Philox(key=[seed & WORD, STREAM], counter=[0, 0, int(epoch), int(row)]))
    return np.hstack([generator.random((int(pieces), 4)), generator.random((int(pieces), 1))])
