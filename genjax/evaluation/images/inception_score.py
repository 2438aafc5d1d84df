"""The Inception score: whether each image is clearly of some class, and all classes come up."""

import numpy as np
from jaxtyping import Float

from genjax.errors import DataError


def inception_score(
    logits: Float[np.ndarray, "images classes"], *, splits: int = 10, seed: int | None = 0
) -> tuple[float, float]:
    """exp(E KL(p(class | image) || p(class))) (Salimans et al., 2016, section 4): mean and standard deviation over splits.

    1 at worst, the number of classes at best; small splits make it smaller.

    Args:
        logits: those without bias, for figures to compare with published ones.
        splits: equal parts that are scored each for itself; papers take 10 of 50,000 images.
        seed: images are put in a random order first, because images that come sorted by class would make splits of few classes;
            None leaves them in theirs.

    Raises:
        DataError: fewer images than splits.
    """
    if len(logits) < splits:
        raise DataError(f"{len(logits)} images make no {splits} splits; generate more, or take fewer splits.")
    order = np.arange(len(logits)) if seed is None else np.random.default_rng(seed).permutation(len(logits))
    bounds = [i * len(logits) // splits for i in range(splits + 1)]
    scores = [_score(logits[order[start:stop]]) for start, stop in zip(bounds, bounds[1:], strict=False)]
    return float(np.mean(scores)), float(np.std(scores))


def _score(logits: Float[np.ndarray, "images classes"]) -> float:
    from scipy.special import log_softmax, logsumexp  # a fifth of a second that only this figure needs

    each = log_softmax(np.asarray(logits, np.float64), axis=1)
    together = logsumexp(each, axis=0) - np.log(len(each))
    return float(np.exp((np.exp(each) * (each - together)).sum(1).mean()))
