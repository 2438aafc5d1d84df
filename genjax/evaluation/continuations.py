"""Log-likelihoods of given texts: the primitive of multiple choice in the style of lm-evaluation-harness.

Everything here is a function of `logits_fn(tokens, segment_ids, positions) -> logits`, which is called with few fixed shapes:
[batch_size, bucket]. Jit it; its logits exist for a whole batch at a time.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import jax
import numpy as np
from jaxtyping import Array, Float, Int

from genjax.errors import RequestError
from genjax.evaluation.perplexity import Sums, target_scores

LogitsFn = Callable[
    [Int[Array, "batch length"], Int[Array, "batch length"], Int[Array, "batch length"]], Float[Array, "batch length vocab"]
]
SMALLEST_BUCKET = 16


@dataclass(frozen=True)
class Score:
    """How likely a text is.

    Attributes:
        log_likelihood: log p(text | context) in nats, summed over its tokens.
        is_greedy: whether greedy decoding from the context writes this text.
        num_tokens: tokens that were scored.
        truncated: tokens of context that were dropped on the left because they did not fit.
    """

    log_likelihood: float
    is_greedy: bool
    num_tokens: int
    truncated: int = 0


@dataclass(frozen=True)
class Batching:
    """How texts are laid out for the network.

    Attributes:
        max_length: most tokens that the network reads at once.
        batch_size: rows of every batch; the last one is filled up.
        buckets: ascending lengths that rows are padded to, one compilation each; empty for powers of two from 16, and max_length.
    """

    max_length: int
    batch_size: int = 8
    buckets: tuple[int, ...] = ()

    def __post_init__(self):
        if self.max_length < 1 or self.batch_size < 1:
            raise RequestError(f"max_length {self.max_length} and batch_size {self.batch_size} must be at least 1.")
        if self.buckets and (list(self.buckets) != sorted(set(self.buckets)) or self.buckets[-1] != self.max_length):
            raise RequestError(f"buckets {self.buckets} must ascend and end with max_length {self.max_length}.")

    @property
    def lengths(self) -> tuple[int, ...]:
        powers = [1 << n for n in range(self.max_length.bit_length()) if SMALLEST_BUCKET <= 1 << n < self.max_length]
        return self.buckets or (*powers, self.max_length)


def log_likelihoods(
    logits_fn: LogitsFn,
    requests: Sequence[tuple[Sequence[int], Sequence[int]]],
    batching: Batching,
    prefix_token: int | None = None,
) -> list[Score]:
    """The score of each continuation given its context, in the order of the requests.

    Args:
        logits_fn: the network.
        requests: pairs (context, continuation) of token ids. A context that does not fit loses its oldest tokens.
        batching: shapes.
        prefix_token: stands in for an empty context (the beginning-of-text or end-of-text token).

    Raises:
        RequestError: an empty continuation, one longer than max_length, or an empty context without a prefix token.
    """
    rows = []
    for number, (context, continuation) in enumerate(requests):
        context, continuation = list(context), list(continuation)
        if not continuation:
            raise RequestError(f"request {number} has an empty continuation; there is nothing to score.")
        if len(continuation) > batching.max_length:
            raise RequestError(
                f"the continuation of request {number} has {len(continuation)} tokens, more than the {batching.max_length} that "
                "the model reads; shorten it, or use rolling_log_likelihoods."
            )
        if not context:
            if prefix_token is None:
                raise RequestError(f"request {number} has an empty context; give a prefix_token, such as the end-of-text token.")
            context = [prefix_token]
        room = batching.max_length + 1 - len(continuation)
        rows.append(_Row((context[-room:] + continuation), len(continuation), max(0, len(context) - room)))
    return _score(logits_fn, rows, batching)


def rolling_log_likelihoods(
    logits_fn: LogitsFn,
    documents: Sequence[Sequence[int]],
    batching: Batching,
    prefix_token: int,
    context: int = 1,
) -> list[Score]:
    """The score of each whole document, every token once, however long it is.

    A document longer than max_length is read in windows; in each window after the first, every token is predicted from at least
    `context` tokens before it (1: disjoint windows, as lm-evaluation-harness does; max_length: one token a window, exact and
    slow). The first token is predicted from `prefix_token`.
    """
    if not 1 <= context <= batching.max_length:
        raise RequestError(f"context is {context}; it must be from 1 to max_length {batching.max_length}.")
    rows, owners = [], []
    for number, document in enumerate(documents):
        for row in _windows(list(document), prefix_token, batching.max_length, context):
            rows.append(row)
            owners.append(number)
    totals = [Score(0.0, True, 0) for _ in documents]
    for number, score in zip(owners, _score(logits_fn, rows, batching), strict=True):
        old = totals[number]
        totals[number] = Score(
            old.log_likelihood + score.log_likelihood, old.is_greedy and score.is_greedy, old.num_tokens + score.num_tokens
        )
    return totals


def multiple_choice(
    choices: Sequence[Sequence[float]], answers: Sequence[int], lengths: Sequence[Sequence[int]] | None = None
) -> Sums:
    """Metric sums of questions answered with their most likely choice; the first of equals.

    Args:
        choices: log-likelihoods of each question's choices.
        answers: the right choice of each question.
        lengths: of the choices, in bytes or characters of their text without the space before it; adds `accuracy_normalized`,
            which chooses by log-likelihood / length (`acc_norm` of lm-evaluation-harness).

    Raises:
        RequestError: counts that do not agree, an answer that is no choice, or a length that is not positive.
    """
    if len(choices) != len(answers) or (lengths is not None and [len(c) for c in choices] != [len(n) for n in lengths]):
        raise RequestError("choices, answers and lengths must describe the same questions and choices.")
    for number, (scores, answer) in enumerate(zip(choices, answers, strict=True)):
        if not 0 <= answer < len(scores):
            raise RequestError(f"the answer of question {number} is {answer}, but it has {len(scores)} choices, counted from 0.")
    right = sum(int(np.argmax(scores)) == answer for scores, answer in zip(choices, answers, strict=True))
    sums = {"accuracy": (float(right), float(len(choices)))}
    if lengths is not None:
        if any(n <= 0 for row in lengths for n in row):
            raise RequestError("a choice has no length; an empty choice cannot be normalized.")
        normalized = [np.asarray(scores) / np.asarray(row) for scores, row in zip(choices, lengths, strict=True)]
        right = sum(int(np.argmax(scores)) == answer for scores, answer in zip(normalized, answers, strict=True))
        sums["accuracy_normalized"] = (float(right), float(len(choices)))
    return sums


def encode_pair(encode: Callable[[str], Sequence[int]], context: str, continuation: str) -> tuple[list[int], list[int]]:
    """Token ids of (context, continuation), cut from those of the whole text, as generation would meet them.

    Spaces at the end of the context move to the continuation, since most tokenizers bind a space to the word after it.
    """
    stripped = context.rstrip()
    continuation = context[len(stripped) :] + continuation
    whole, start = list(encode(stripped + continuation)), len(encode(stripped)) if stripped else 0
    return whole[:start], whole[start:]


@dataclass(frozen=True)
class _Row:
    """Token ids of which the last `scored` are predicted, each from those before it."""

    tokens: list[int]
    scored: int
    truncated: int = 0


def _windows(document: list[int], prefix_token: int, max_length: int, context: int) -> Iterator[_Row]:
    tokens = [prefix_token, *document]
    predicted = 1
    while predicted < len(tokens):
        fresh = max_length if predicted == 1 else max_length - context + 1
        end = min(predicted + fresh, len(tokens))
        yield _Row(tokens[max(0, end - max_length - 1) : end], end - predicted)
        predicted = end


def _score(logits_fn: LogitsFn, rows: Sequence[_Row], batching: Batching) -> list[Score]:
    by_bucket: dict[int, list[int]] = {}
    for number, row in enumerate(rows):
        bucket = next(n for n in batching.lengths if len(row.tokens) - 1 <= n)
        by_bucket.setdefault(bucket, []).append(number)
    scores: dict[int, Score] = {}
    for bucket, numbers in sorted(by_bucket.items(), reverse=True):  # the largest first: what does not fit fails early
        for start in range(0, len(numbers), batching.batch_size):
            chosen = numbers[start : start + batching.batch_size]
            scores |= zip(chosen, _score_batch(logits_fn, [rows[n] for n in chosen], batching.batch_size, bucket), strict=True)
    return [scores[number] for number in range(len(rows))]


def _score_batch(logits_fn: LogitsFn, rows: Sequence[_Row], batch_size: int, length: int) -> list[Score]:
    tokens, targets, segment_ids = (np.zeros((batch_size, length), np.int32) for _ in range(3))
    for i in range(batch_size):
        ids = rows[min(i, len(rows) - 1)].tokens  # the last row again where there are too few
        tokens[i, : len(ids) - 1], targets[i, : len(ids) - 1], segment_ids[i, : len(ids) - 1] = ids[:-1], ids[1:], 1
    positions = np.broadcast_to(np.arange(length, dtype=np.int32), tokens.shape)
    nats, greedy = jax.device_get(_target_scores(logits_fn(tokens, segment_ids, positions), targets))
    result = []
    for i, row in enumerate(rows):
        last = len(row.tokens) - 1
        chosen = slice(last - row.scored, last)
        total = -float(np.sum(nats[i, chosen], dtype=np.float64))
        result.append(Score(total, bool(np.all(greedy[i, chosen])), row.scored, row.truncated))
    return result


_target_scores = jax.jit(target_scores)
