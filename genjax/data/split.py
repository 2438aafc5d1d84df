"""Which part of a corpus is held out: decided by the documents' content, so that it stays when documents are added."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool
from tqdm import tqdm

from genjax.data.sources.document import Document, Source


@dataclass(frozen=True)
class Split:
    """Documents for training and documents held out.

    Attributes:
        held_out: one entry a document of the source.
        cut: for a corpus of one document, the number of its characters that are for training; -1 otherwise.
        train_characters, evaluation_characters: how much text lies on either side.
    """

    held_out: Bool[np.ndarray, " documents"]
    cut: int
    train_characters: int
    evaluation_characters: int

    def train(self, documents: Iterable[Document]) -> Iterator[str]:
        for held_out, document in zip(self.held_out, documents, strict=True):
            if self.cut >= 0:
                yield document.text[: self.cut]
            elif not held_out:
                yield document.text

    def evaluation(self, documents: Iterable[Document]) -> Iterator[str]:
        for held_out, document in zip(self.held_out, documents, strict=True):
            if self.cut >= 0:
                yield document.text[self.cut :]
            elif held_out:
                yield document.text


def split(source: Source, fraction: float) -> Split:
    """Reads the source once and holds out about `fraction` (0 to 1) of its documents.

    A document is held out when the hash of its text falls below the fraction: equal documents stay together, and the choice
    for one does not depend on the others. Where that leaves a side empty, the document of the lowest or the highest hash goes
    there. A corpus of one document is cut at the end instead: its last characters are held out.
    """
    hashes, sizes = [], []
    for document in tqdm(source, desc=f"reading {source.title}", unit=" documents", disable=None, delay=2):
        content = document.text.encode("utf-8", "surrogatepass")
        hashes.append(int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little"))
        sizes.append(len(document.text))
    hashes, sizes = np.array(hashes, np.uint64), np.array(sizes, np.int64)
    if len(sizes) == 1 and fraction > 0:
        cut = int(sizes[0] * (1 - fraction))
        return Split(np.zeros(1, bool), cut, cut, int(sizes[0]) - cut)
    held_out = hashes.astype(np.float64) < fraction * 2.0**64
    if fraction > 0:
        held_out[np.argmax(hashes)] = False
        held_out[np.argmin(hashes)] = True
    return Split(held_out, -1, int(sizes[~held_out].sum()), int(sizes[held_out].sum()))
