"""Attention by its formula in float64, with the gradients of the formula: the oracle of the attention tests."""

from typing import NamedTuple

import numpy as np


class Case(NamedTuple):
    """Shapes and masks of one attention call."""

    batch: int = 2
    length: int = 70
    keys: int = 0  # 0: as many as queries
    heads: int = 4
    kv_heads: int = 4
    head_dim: int = 8
    causal: bool = True
    window: int = 0
    segments: bool = False


def draw(case: Case, seed: int = 0) -> dict[str, np.ndarray]:
    """Queries, keys, values and the gradient of the output; logits have a standard deviation near 1.5."""
    rng = np.random.default_rng(seed)
    keys = case.keys or case.length
    arrays = {
        "query": rng.normal(size=(case.batch, case.length, case.heads, case.head_dim)) * 1.5,
        "key": rng.normal(size=(case.batch, keys, case.kv_heads, case.head_dim)),
        "value": rng.normal(size=(case.batch, keys, case.kv_heads, case.head_dim)),
        "gradient": rng.normal(size=(case.batch, case.length, case.heads, case.head_dim)),
    }
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def draw_segments(case: Case, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Segments 1, 1, ..., 2, 2, ..., with borders that differ by row, and a tail of padding (0)."""
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(case.batch):
        borders = np.sort(rng.choice(np.arange(1, case.length), 3, replace=False))
        ids = np.repeat([1, 2, 3, 0], np.diff([0, *borders, case.length]))
        rows.append(ids.astype(np.int32))
    query = np.stack(rows)
    keys = case.keys or case.length
    return query, np.stack([np.resize(row, keys) for row in rows])


def visible(case: Case, query_ids=None, key_ids=None, offset: int = 0) -> np.ndarray:
    """True where a query may see a key: [batch, 1, length, keys]."""
    query = np.arange(case.length)[:, None] + offset
    key = np.arange(case.keys or case.length)[None, :]
    allowed = np.ones((case.batch, 1, case.length, case.keys or case.length), bool)
    if case.causal:
        allowed &= key <= query
    if case.window:
        allowed &= key > query - case.window
    if query_ids is not None:
        allowed &= (query_ids[:, :, None] == key_ids[:, None, :])[:, None]
    return allowed


def formula(query, key, value, gradient, allowed, bias=None, scale=None) -> dict[str, np.ndarray]:
    """softmax(scale · query keyᵀ + bias) value and its gradients. Queries that see nothing give zeros."""
    q, k, v, g = (np.asarray(x, np.float64).transpose(0, 2, 1, 3) for x in (query, key, value, gradient))
    repeats = q.shape[1] // k.shape[1]
    k, v = (np.repeat(x, repeats, axis=1) for x in (k, v))
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    logits = scale * q @ k.swapaxes(-1, -2) + (0 if bias is None else np.asarray(bias, np.float64))
    allowed = np.broadcast_to(allowed, logits.shape)
    weights = np.exp(logits - logits.max(-1, keepdims=True)) * allowed  # logits of these tests differ by less than 100
    weights /= np.maximum(weights.sum(-1, keepdims=True), 1e-300)
    weights_gradient = g @ v.swapaxes(-1, -2)
    logits_gradient = weights * (weights_gradient - (weights * weights_gradient).sum(-1, keepdims=True))

    def by_kv_head(x):
        return x.reshape(x.shape[0], -1, repeats, *x.shape[2:]).sum(2).transpose(0, 2, 1, 3)

    return {
        "out": (weights @ v).transpose(0, 2, 1, 3),
        "query": (scale * logits_gradient @ k).transpose(0, 2, 1, 3),
        "key": by_kv_head(scale * logits_gradient.swapaxes(-1, -2) @ q),
        "value": by_kv_head(weights.swapaxes(-1, -2) @ g),
        "bias": logits_gradient,
    }
