"""Tokenized text: one long array of ids and the places where documents begin."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int
from tqdm import tqdm

from genjax.data.tokenizers.base import Tokenizer

CHUNK = 1 << 22  # characters that are encoded together: enough for a tokenizer's threads, little beside the corpus
HEADER = 128  # bytes of a .npy header for one axis


@dataclass(frozen=True, eq=False)
class Corpus:
    """Documents of tokens, one after the other.

    Where the tokenizer has one separator for both ends (bos = eos), the stream is `eos d0 eos d1 eos`, and a document as a
    model sees it reaches from the separator before it to the one after it (`overlap` 1: neighbours share a separator).
    Otherwise it is `bos d0 eos bos d1 eos`, less what the tokenizer lacks (`overlap` 0).

    Attributes:
        tokens: the stream, uint16 or uint32; memory-mapped when it lies in a file.
        offsets: [documents + 1], document i is `tokens[offsets[i] : offsets[i + 1] + overlap]`.
        num_bytes: UTF-8 bytes of the text, specials not counted.
        folder: where the arrays lie as files, None in memory. A pickled corpus then holds the path, not the tokens.
        name: prefix of the files.
    """

    tokens: Int[np.ndarray, " length"]
    offsets: Int[np.ndarray, " boundaries"]
    overlap: int
    num_bytes: int
    folder: Path | None = None
    name: str = ""

    @property
    def num_documents(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> Int[np.ndarray, " documents"]:
        """Tokens of each document with its specials."""
        return np.diff(self.offsets) + self.overlap

    def __reduce__(self):
        if self.folder is not None:
            return open_corpus, (self.folder, self.name, self.overlap, self.num_bytes)
        return Corpus, (np.asarray(self.tokens), self.offsets, self.overlap, self.num_bytes)


def open_corpus(folder: Path, name: str, overlap: int, num_bytes: int) -> Corpus:
    """Maps the files that `tokenize` wrote. Raises OSError or ValueError when they are missing or cut short."""
    tokens = np.load(folder / f"{name}_tokens.npy", mmap_mode="r")
    return Corpus(tokens, np.load(folder / f"{name}_offsets.npy"), overlap, num_bytes, folder, name)


def tokenize(
    texts: Iterable[str | tuple[str, ...]], characters: int, tokenizer: Tokenizer, folder: Path | None, name: str
) -> Corpus:
    """Encodes the documents, in memory or into files of `folder`, holding one chunk of text at a time.

    Args:
        texts: the documents. Those that come in parts, all in equally many, are encoded part by part, and the corpus' `offsets`
            has a boundary for each part: the first one of a document has its bos, the last its eos.
        characters: how many they hold together, for the progress bar.
        name: prefix of the files and title of the progress bar.
    """
    dtype = np.uint16 if tokenizer.vocab_size <= 1 << 16 else np.uint32
    bos, eos = tokenizer.bos_id, tokenizer.eos_id
    overlap = int(bos is not None and bos == eos)
    before, after = [bos] if bos is not None and not overlap else [], [eos] if eos is not None else []
    sizes: list[int] = []
    num_bytes = 0
    with _Writer(folder / f"{name}_tokens.npy" if folder else None, dtype) as writer:
        if overlap:
            writer.write(np.array([eos], dtype))
        bar = tqdm(total=characters, desc=f"tokenizing ({name})", unit=" characters", unit_scale=True, disable=None, delay=2)
        for chunk in _chunks(texts):
            ids = iter(tokenizer.encode_batch([part for parts in chunk for part in parts]))
            for parts in chunk:
                for number, text in enumerate(parts):
                    first, last = before if number == 0 else [], after if number == len(parts) - 1 else []
                    framed = np.concatenate([np.array(first, dtype), next(ids).astype(dtype), np.array(last, dtype)])
                    writer.write(framed)
                    sizes.append(len(framed))
                    num_bytes += len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
                    bar.update(len(text))
        bar.close()
    offsets = np.concatenate([[0], np.cumsum(np.array(sizes, np.int64))]).astype(np.int64)
    if folder is None:
        return Corpus(writer.joined(), offsets, overlap, num_bytes)
    np.save(folder / f"{name}_offsets.npy", offsets)
    return open_corpus(folder, name, overlap, num_bytes)


def _chunks(texts: Iterable[str | tuple[str, ...]]) -> Iterator[list[tuple[str, ...]]]:
    chunk, size = [], 0
    for text in texts:
        chunk.append((text,) if isinstance(text, str) else text)
        size += sum(map(len, chunk[-1]))
        if size >= CHUNK:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


class _Writer:
    """Appends to a .npy file whose length is known only at the end, or to memory."""

    def __init__(self, path: Path | None, dtype: type):
        self.path, self.dtype, self.length, self.arrays = path, np.dtype(dtype), 0, []

    def __enter__(self):
        self.file = open(self.path, "wb") if self.path else None
        if self.file:
            self.file.write(b"\0" * HEADER)
        return self

    def write(self, array: np.ndarray) -> None:
        self.length += len(array)
        if self.file:
            self.file.write(array.tobytes())
        else:
            self.arrays.append(array)

    def joined(self) -> np.ndarray:
        return np.concatenate(self.arrays) if self.arrays else np.zeros(0, self.dtype)

    def __exit__(self, kind, *_):
        if self.file and kind is None:
            self.file.seek(0)
            values = {"descr": np.lib.format.dtype_to_descr(self.dtype), "fortran_order": False, "shape": (self.length,)}
            np.lib.format.write_array_header_1_0(self.file, values)
            assert self.file.tell() == HEADER, "a .npy header of one axis has 128 bytes"
        if self.file:
            self.file.close()
