"""BLEU and chrF of whole corpora, as sacrebleu counts them (Post, 2018): cased, on text that nobody has tokenized."""

from collections.abc import Sequence

from genjax.errors import RequestError


def translation_scores(hypotheses: Sequence[str], references: Sequence[str]) -> dict[str, float | str]:
    """`bleu` and `chrf` from 0 to 100, with the signatures that say how they were counted.

    Args:
        hypotheses, references: one of each for every sentence, in the same order.

    Raises:
        RequestError: sacrebleu is not installed.
    """
    try:
        from sacrebleu.metrics import BLEU, CHRF
    except ImportError:
        raise RequestError("BLEU and chrF need sacrebleu, which is not installed; pip install 'genjax[text]'.") from None
    values: dict[str, float | str] = {}
    for name, metric in (("bleu", BLEU()), ("chrf", CHRF())):
        values[name] = metric.corpus_score(list(hypotheses), [list(references)]).score
        values[f"{name}_signature"] = str(metric.get_signature())
    return values
