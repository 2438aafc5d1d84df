"""ROUGE of summaries, as rouge-score counts it (Lin, 2004), the replica of the original script that papers on summaries use."""

from collections.abc import Sequence

from genjax.errors import RequestError

KINDS = ("rouge1", "rouge2", "rougeLsum")


def rouge_scores(hypotheses: Sequence[str], references: Sequence[str], stemmed: bool = True) -> dict[str, float]:
    """Means over the texts of F1, from 0 to 100, of common words, of common pairs of words, and of the longest common
    subsequences of their lines (`rougeLsum`).

    Args:
        hypotheses, references: one of each for every text, in the same order; a sentence on each line.
        stemmed: words count as equal that have one Porter stem (English).

    Raises:
        RequestError: rouge-score is not installed.
    """
    try:
        from rouge_score.rouge_scorer import RougeScorer
    except ImportError:
        raise RequestError("ROUGE needs rouge-score, which is not installed; pip install 'genjax[text]'.") from None
    scorer = RougeScorer(list(KINDS), use_stemmer=stemmed)
    each = [scorer.score(reference, written) for written, reference in zip(hypotheses, references, strict=True)]
    return {kind: 100 * sum(scores[kind].fmeasure for scores in each) / max(len(each), 1) for kind in KINDS}
