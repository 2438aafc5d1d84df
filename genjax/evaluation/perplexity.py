"""How well a model predicts text: sums that add up over batches and devices, and the figures that follow from them.

A metric is a pair (total, weight), as in the Task contract, and its average is total / weight:

    loss           nats of the targets over their number
    accuracy       targets that are the most likely token, over their number
    bits_per_byte  bits of the targets over the bytes of text that they stand for: comparable between tokenizers
    perplexity     exp(loss)
"""

import math
from collections.abc import Iterable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from genjax.errors import DataError

Sums = Mapping[str, tuple[Float[Array, ""] | float, Float[Array, ""] | float]]


def target_scores(
    logits: Float[Array, "*tokens vocab"], targets: Int[Array, "*tokens"]
) -> tuple[Float[Array, "*tokens"], Bool[Array, "*tokens"]]:
    """(-log p(target) in nats, whether the target is the most likely token), computed in float32."""
    logits = logits.astype(jnp.float32)
    chosen = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
    return jax.nn.logsumexp(logits, axis=-1) - chosen, jnp.argmax(logits, axis=-1) == targets


def text_sums(
    nats: Float[Array, ""],
    correct: Float[Array, ""],
    tokens: Float[Array, ""],
    text_bytes: Float[Array, ""] | None = None,
) -> Sums:
    """Metric sums from sums over scored targets: nats, correct predictions, targets and, where known, bytes of text."""
    sums = {"loss": (nats, tokens), "accuracy": (correct, tokens)}
    if text_bytes is not None:
        sums["bits_per_byte"] = (nats / math.log(2), text_bytes)
    return sums


def batch_sums(
    logits: Float[Array, "batch length vocab"],
    targets: Int[Array, "batch length"],
    mask: Int[Array, "batch length"],
    token_bytes: Int[Array, " vocab"] | None = None,
) -> Sums:
    """Metric sums of one batch.

    Args:
        logits: for each position, over the token that follows.
        targets: the token that follows.
        mask: nonzero where the target counts. What stands elsewhere, NaN included, has no influence.
        token_bytes: bytes of text that each token stands for, 0 for specials.
    """
    counts = mask != 0
    nats, correct = target_scores(logits, targets)
    text_bytes = None
    if token_bytes is not None:
        text_bytes = jnp.sum(jnp.where(counts, jnp.asarray(token_bytes)[targets], 0), dtype=jnp.float32)
    return text_sums(
        jnp.sum(jnp.where(counts, nats, 0.0)),
        jnp.sum(counts & correct, dtype=jnp.float32),
        jnp.sum(counts, dtype=jnp.float32),
        text_bytes,
    )


def add(parts: Iterable[Sums]) -> dict[str, tuple[float, float]]:
    """The sums of several batches, in float64 on the host: a float32 count stands still at 16,777,216."""
    totals: dict[str, tuple[float, float]] = {}
    for part in parts:
        for name, (total, weight) in part.items():
            old_total, old_weight = totals.get(name, (0.0, 0.0))
            totals[name] = (old_total + float(total), old_weight + float(weight))
    return totals


def averages(sums: Sums) -> dict[str, float]:
    """total / weight of each metric.

    Raises:
        DataError: nothing was counted.
    """
    empty = [name for name, (_, weight) in sums.items() if not float(weight) > 0]
    if empty:
        raise DataError(f"no text was scored for {', '.join(empty)}: the held-out data has no targets that count.")
    return {name: float(total) / float(weight) for name, (total, weight) in sums.items()}


def summarize(values: Mapping[str, float]) -> dict[str, float]:
    """Adds `perplexity` to the averages, where they have a `loss`; infinite where a float64 cannot hold it."""
    if "loss" not in values:
        return dict(values)
    with np.errstate(over="ignore"):
        return {**values, "perplexity": float(np.exp(np.float64(values["loss"])))}
