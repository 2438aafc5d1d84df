"""How near a filled-in passage is to the one that was taken out."""

from genjax.errors import RequestError


def exact_match(written: str, expected: str) -> bool:
    """Whether both are the same, but for white space around them: an indentation may belong to the prefix or to the passage."""
    return written.strip() == expected.strip()


def edit_similarity(written: str, expected: str) -> float:
    """1 - Levenshtein distance / length of the longer, in [0, 1], white space around them left out; 1 for two empty passages.

    The distance counts characters inserted, deleted or replaced (Ding et al., 2023, CrossCodeEval, section 4).

    Raises:
        RequestError: rapidfuzz is not installed.
    """
    try:
        from rapidfuzz.distance import Levenshtein
    except ImportError:
        raise RequestError("edit similarity needs rapidfuzz, which is not installed; pip install 'genjax[code]'.") from None
    return Levenshtein.normalized_similarity(written.strip(), expected.strip())
