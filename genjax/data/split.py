"""Which part of a corpus is held out: decided by the documents' content, so that it stays when documents are added."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Bool
from tqdm import tqdm

from genjax.data.sources.document import Document, Source
from genjax.errors import DataError


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
        return (document.text for side, document in self.sides(documents) if side == "train")

    def evaluation(self, documents: Iterable[Document]) -> Iterator[str]:
        return (document.text for side, document in self.sides(documents) if side == "evaluation")

    def sides(self, documents: Iterable[Document]) -> Iterator[tuple[Literal["train", "evaluation"], Document]]:
        """Every document and the side that it is on; the two parts of one that is cut."""
        for held_out, document in zip(self.held_out, documents, strict=True):
            if self.cut >= 0:
                yield "train", replace(document, text=document.text[: self.cut])
                yield "evaluation", replace(document, text=document.text[self.cut :])
            else:
                yield "evaluation" if held_out else "train", document


def split(source: Source, fraction: float) -> Split:
    """Reads the source once and holds out about `fraction` (0 to 1) of its documents.

    A document is held out when the hash of its group, or else of its text, falls below the fraction: equal documents and those
    of one group stay together, and the choice for one does not depend on the others. Where that leaves a side empty, the
    documents of the lowest or the highest hash go there. A corpus of one document, which is of no group, is cut at the end
    instead: its last characters are held out.

    Raises:
        DataError: something is to be held out, and all documents are of one group.
    """
    hashes, sizes = [], []
    for document in tqdm(source, desc=f"reading {source.title}", unit=" documents", disable=None, delay=2):
        content = (document.group or document.text).encode("utf-8", "surrogatepass")
        hashes.append(int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little"))
        sizes.append(len(document.text))
    hashes, sizes = np.array(hashes, np.uint64), np.array(sizes, np.int64)
    if len(sizes) == 1 and fraction > 0 and not document.group:
        cut = int(sizes[0] * (1 - fraction))
        return Split(np.zeros(1, bool), cut, cut, int(sizes[0]) - cut)
    held_out = hashes.astype(np.float64) < fraction * 2.0**64
    if fraction > 0:
        held_out[hashes == hashes.max()] = False
        held_out[hashes == hashes.min()] = True
        if held_out.all():
            raise DataError(
                f"all {len(sizes):,} documents of {source.title} belong together (equal, near duplicates, or of one repository), "
                "so that no part of them can be held out; set data.evaluation_fraction to 0, or name another place for that."
            )
    return Split(held_out, -1, int(sizes[~held_out].sum()), int(sizes[held_out].sum()))
