"""Retrieval: how often what belongs together is found among all there is, by cosine."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from genjax.evaluation.perplexity import Sums
from genjax.parallel.rules import constrain

KS = (1, 5, 10)


def own_ranks(
    queries: Float[np.ndarray, "rows embedding"],
    keys: Float[np.ndarray, "keys embedding"],
    owners: Int[np.ndarray, " keys"] | None = None,
) -> Int[np.ndarray, " rows"]:
    """Where the nearest of a query's own keys stands among all keys, from 1; behind every key of others that is equally near.

    Args:
        queries, keys: of length 1.
        owners: the query that each key belongs to (five captions of one image, say); None: key i belongs to query i.
    """
    cosines = np.asarray(queries, np.float32) @ np.asarray(keys, np.float32).T
    owners = np.arange(len(keys)) if owners is None else owners
    own = owners[None, :] == np.arange(len(queries))[:, None]
    best = np.where(own, cosines, -np.inf).max(1, keepdims=True)
    return 1 + (~own & (cosines >= best)).sum(1)


def recalls(ranks: Int[np.ndarray, " rows"], ks: Sequence[int] = KS) -> dict[str, float]:
    """`recall@k`, the share of ranks up to k (0 to 1), and `median_rank`."""
    return {**{f"recall@{k}": float(np.mean(ranks <= k)) for k in ks}, "median_rank": float(np.median(ranks))}


def batch_recalls(
    queries: Float[Array, "batch embedding"], keys: Float[Array, "batch embedding"], mask: Bool[Array, " batch"], name: str
) -> Sums:
    """Metric sums of one batch, both ways: `{name}_1` and `{name}_10`, and `{name}_back_1`: the share of rows whose own key is
    the nearest, or one of the nearest ten, among those of the batch; rows without a mask are neither queries nor keys."""
    cosines = constrain(jnp.einsum("id,td->it", queries, keys, precision="highest"), "activation_batch", None)
    own = jnp.diagonal(cosines)
    others = ~jnp.eye(len(cosines), dtype=bool)
    counts = mask.astype(jnp.float32)
    weight = jnp.sum(counts)
    ranks = jnp.sum(others & mask[None, :] & (cosines >= own[:, None]), axis=1)
    back = jnp.sum(others & mask[:, None] & (cosines >= own[None, :]), axis=0)
    shares = {f"{name}_1": ranks < 1, f"{name}_10": ranks < 10, f"{name}_back_1": back < 1}
    return {key: (jnp.sum(found * counts), weight) for key, found in shares.items()}
