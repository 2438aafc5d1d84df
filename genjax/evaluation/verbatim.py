"""Where a text repeats a corpus word for word: the longest run of tokens that it shares with any document.

A token here is a word (identifier, keyword, number) or a run of one other character (`==`, `-----`), brackets one by one; quotes
are tokens too, so that strings, docstrings and comments count by their words. Space and line ends do not count: code that was
only laid out anew is still the same code. This needs no grammar and is the same for every language.
"""

import hashlib
import itertools
import json
import os
import re
import shutil
import string
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from jaxtyping import Int
from tqdm import tqdm

from genjax.errors import DataError
from genjax.evaluation.suffix_array import UNKNOWN, longest_shared, occurrences, suffix_array

FORMAT = 1
META, STRINGS = "meta.json", "strings.json"
ARRAYS = ("tokens", "order", "documents", "lines", "first_lines")
STARTS_AT_ONCE = 4096  # places of a long text that are searched together
# From so many tokens on a match is called a repeat. Of stretches of 30 lines (200 tokens) of held-out files of the standard
# library, half share at most 11 tokens in a row with the rest of it and 95 % at most 38; those that share 50 or more (3 %) were
# copied by the authors themselves from one file to another, as abc.py and _py_abc.py.
FLAGGED_TOKENS = 50

BRACKETS = "()[]{}"
_REPEATED = "|".join(re.escape(c) + "+" for c in string.punctuation if c not in BRACKETS + "_")
_TOKEN = re.compile(rf"\n|\w+|{_REPEATED}|\S")
_SEPARATOR = 0  # the id of the line end, which is no token of a document: it stands after each


class Document(Protocol):
    """What an index is built from."""

    name: str
    text: str
    licence: str


@dataclass(frozen=True)
class Match:
    """A run of tokens that a text shares with a document.

    Attributes:
        num_tokens: its length.
        text: as the query writes it.
        name, licence: of a document that has it, the first of several.
        line: where it begins there, from 1.
        occurrences: how often the corpus has it.
    """

    num_tokens: int
    text: str
    name: str
    licence: str
    line: int
    occurrences: int


@dataclass(frozen=True, eq=False, repr=False)
class VerbatimIndex:
    """A suffix array over the tokens of a corpus; 8 bytes a token, memory-mapped when opened from a folder.

    Attributes:
        tokens: ids of all documents, one after the other, a separator after each.
        order: their suffix array.
        documents: [documents + 1], where each begins in `tokens`.
        lines: where each line of each document begins in `tokens`.
        first_lines: [documents + 1], where a document's lines begin in `lines`.
        names, licences: of the documents.
        vocabulary: token to id.
        fingerprint: 16 hex digits of the content.
    """

    tokens: Int[np.ndarray, " tokens"]
    order: Int[np.ndarray, " tokens"]
    documents: Int[np.ndarray, " boundaries"]
    lines: Int[np.ndarray, " lines"]
    first_lines: Int[np.ndarray, " boundaries"]
    names: Sequence[str]
    licences: Sequence[str]
    vocabulary: Mapping[str, int]

    @classmethod
    def build(cls, documents: Iterable[Document], *, progress: bool = True) -> "VerbatimIndex":
        """The index of a corpus. Takes about a second for a million tokens, and some 90 bytes of memory for each.

        Args:
            documents: of any length; empty ones are passed over.
            progress: bars on standard error, where it takes longer than a moment.

        Raises:
            DataError: no documents, or 2^31 tokens and more.
        """
        vocabulary = {"\n": _SEPARATOR}
        tokens, lines, names, licences = [], [], [], []
        hide = None if progress else True
        for document in tqdm(documents, desc="reading", unit=" documents", disable=hide, delay=1):
            ids, starts = _read(document.text, vocabulary)
            if len(ids) > 1:
                tokens.append(ids)
                lines.append(starts)
                names.append(document.name)
                licences.append(document.licence)
        if not tokens:
            raise DataError("there are no documents to index; a verbatim index needs the text that a model was trained on.")
        boundaries, first_lines = _boundaries(tokens), _boundaries(lines)
        lines = [starts + first for starts, first in zip(lines, boundaries[:-1], strict=True)]
        tokens = np.concatenate(tokens)
        with tqdm(total=len(tokens), desc="sorting", unit=" tokens", unit_scale=True, disable=hide, delay=1) as bar:
            order = suffix_array(tokens, lambda depth, remaining: bar.update(len(tokens) - remaining - bar.n))
            bar.update(len(tokens) - bar.n)
        lines = np.concatenate(lines).astype(np.int32)
        return cls(tokens, order, boundaries, lines, first_lines, tuple(names), tuple(licences), vocabulary)

    @property
    def fingerprint(self) -> str:
        content = hashlib.sha256(json.dumps([FORMAT, self.names, self.licences, list(self.vocabulary)]).encode())
        content.update(np.ascontiguousarray(self.tokens))
        return content.hexdigest()[:16]

    def longest(self, text: str) -> Match | None:
        """The longest run of tokens that the text shares with a document; None where not even one token is known.

        A text of a few hundred tokens takes milliseconds. Exact: no longer run exists. Of runs of one length, the text's first.
        """
        query = np.array([self.vocabulary.get(word, UNKNOWN) for word in _words(text)], np.int32)
        length, start = 0, 0
        for first in range(0, len(query), STARTS_AT_ONCE):
            starts = np.arange(first, min(first + STARTS_AT_ONCE, len(query)))
            lengths = longest_shared(self.tokens, self.order, query, starts)
            if lengths.max() > length:
                length, start = int(lengths.max()), first + int(lengths.argmax())
        if not length:
            return None
        found = occurrences(self.tokens, self.order, query[start : start + length])
        position = int(found[0])
        document = int(np.searchsorted(self.documents, position, side="right")) - 1
        lines = self.lines[self.first_lines[document] : self.first_lines[document + 1]]
        return Match(
            num_tokens=length,
            text=_slice(text, start, length),
            name=self.names[document],
            licence=self.licences[document],
            line=int(np.searchsorted(lines, position, side="right")),
            occurrences=len(found),
        )

    def save(self, folder: Path | str, *, overwrite: bool = False) -> None:
        """Writes the folder, which appears only when it is complete.

        Raises:
            DataError: it exists (and `overwrite` is off), or cannot be written.
        """
        folder = Path(folder)
        if folder.exists() and not overwrite:
            raise DataError(f"{folder} exists; choose another folder, or replace it with --overwrite.")
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            staging = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", dir=folder.parent))
            try:
                self._write(staging)
                if folder.exists():
                    shutil.rmtree(folder)
                os.rename(staging, folder)
            finally:
                shutil.rmtree(staging, ignore_errors=True)
        except OSError as error:
            raise DataError(f"the verbatim index {folder} cannot be written: {error.strerror or error}.") from error

    def _write(self, folder: Path) -> None:
        for name in ARRAYS:
            np.save(folder / f"{name}.npy", getattr(self, name))
        strings = {"names": self.names, "licences": self.licences, "vocabulary": list(self.vocabulary)}
        (folder / STRINGS).write_text(json.dumps(strings), encoding="utf-8")
        files = {path.name: _checksum(path) for path in sorted(folder.iterdir())}
        meta = {"format": FORMAT, "fingerprint": self.fingerprint, "documents": len(self.names), "tokens": len(self.tokens)}
        (folder / META).write_text(json.dumps(meta | {"files": files}, indent=1), encoding="utf-8")
        os.chmod(folder, 0o755)  # mkdtemp's folders are closed to everyone else

    @classmethod
    def open(cls, folder: Path | str) -> "VerbatimIndex":
        """Maps what `save` wrote. Every byte is read once to compare its checksum: some 30 ms for the standard library.

        Raises:
            DataError: no index there, one of another version, or a file that is missing or not what was written.
        """
        folder = Path(folder)
        again = "build it again with `python -m genjax.sampling.verbatim_index --overwrite`."
        if not (folder / META).is_file():
            raise DataError(f"there is no verbatim index in {folder}; build one with `python -m genjax.sampling.verbatim_index`.")
        try:
            meta = json.loads((folder / META).read_text("utf-8"))
            if meta["format"] != FORMAT:
                raise DataError(f"the verbatim index {folder} has format {meta['format']}, not {FORMAT}; {again}")
            for name, checksum in meta["files"].items():
                if _checksum(folder / name) != checksum:
                    raise ValueError(f"{name} is not what was written")
            strings = json.loads((folder / STRINGS).read_text("utf-8"))
            arrays = [np.asarray(np.load(folder / f"{name}.npy", mmap_mode="r")) for name in ARRAYS]
            vocabulary = {word: number for number, word in enumerate(strings["vocabulary"])}
            return cls(*arrays, strings["names"], strings["licences"], vocabulary)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"the verbatim index {folder} is damaged ({error}); {again}") from error


def _words(text: str) -> list[str]:
    return [word for word in _TOKEN.findall(text) if word != "\n"]


def _read(text: str, vocabulary: dict[str, int]) -> tuple[Int[np.ndarray, " tokens"], Int[np.ndarray, " lines"]]:
    """The ids of a document with a separator after them, and where each of its lines begins among them."""
    ids = np.array([vocabulary.setdefault(word, len(vocabulary)) for word in _TOKEN.findall(text)] + [_SEPARATOR], np.int32)
    counted = ids != _SEPARATOR
    lines = np.cumsum(counted)[:-1][~counted[:-1]]
    return np.append(ids[counted], np.int32(_SEPARATOR)), np.concatenate([[0], lines]).astype(np.int64)


def _boundaries(parts: Sequence[np.ndarray]) -> Int[np.ndarray, " boundaries"]:
    return np.array([0, *itertools.accumulate(map(len, parts))], np.int64)


def _slice(text: str, start: int, length: int) -> str:
    """The text of `length` tokens from token `start`."""
    spans = (match.span() for match in _TOKEN.finditer(text) if match[0] != "\n")
    run = list(itertools.islice(spans, start, start + length))
    return text[run[0][0] : run[-1][1]]


def _checksum(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
