"""Word and character error rates: how much of a transcript is wrong.

A rate is the least number of insertions, deletions and replacements that make the references of the transcripts, over the words
(or characters) of all references. It can be above 1.
"""

from collections.abc import Sequence

import numpy as np


def word_error_rate(hypotheses: Sequence[str], references: Sequence[str]) -> float:
    """Over words between white space, as they are written: case and punctuation count."""
    return _error_rate([text.split() for text in hypotheses], [text.split() for text in references])


def character_error_rate(hypotheses: Sequence[str], references: Sequence[str]) -> float:
    """Over characters, white space between words counted as one and left out at the ends."""
    return _error_rate([" ".join(text.split()) for text in hypotheses], [" ".join(text.split()) for text in references])


def edit_distance(written: Sequence[object], expected: Sequence[object]) -> int:
    """The least number of insertions, deletions and replacements between two sequences (Levenshtein, 1966)."""
    codes: dict[object, int] = {}
    first, second = (np.array([codes.setdefault(item, len(codes)) for item in items], np.int64) for items in (written, expected))
    offsets = np.arange(len(second) + 1)
    row = offsets.copy()
    for number, item in enumerate(first, 1):
        # Replacements and deletions at once; an insertion reaches from every place to all after it, one for each step.
        better = np.minimum(row[:-1] + (second != item), row[1:] + 1)
        row = np.minimum.accumulate(np.concatenate([[number], better]) - offsets) + offsets
    return int(row[-1])


def _error_rate(written: Sequence[Sequence[object]], expected: Sequence[Sequence[object]]) -> float:
    edits = sum(edit_distance(a, b) for a, b in zip(written, expected, strict=True))
    total = sum(map(len, expected))
    return edits / total if total else float(edits > 0)
