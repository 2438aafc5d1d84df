"""Classes by their names alone: an image is of the class whose text lies nearest (Radford et al., 2021, section 3.1)."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int


def fill(names: Sequence[str], templates: Sequence[str] = ()) -> tuple[str, ...]:
    """Every name in every template (in the place of `{}`), name after name; without templates the names themselves."""
    return tuple(template.replace("{}", name) for name in names for template in templates or ("{}",))


def class_weights(texts: Float[np.ndarray, "texts embedding"], classes: int) -> Float[np.ndarray, "classes embedding"]:
    """One vector of length 1 for each class: the mean, normalized again, of the embeddings of its texts.

    Args:
        texts: embeddings of length 1 of what `fill` gives.
        classes: how many names it was given.
    """
    grouped = np.asarray(texts, np.float32).reshape(classes, -1, texts.shape[-1])
    means = grouped.mean(1)
    return means / np.maximum(np.linalg.norm(means, axis=-1, keepdims=True), 1e-12)


def top_k_accuracy(
    images: Float[np.ndarray, "images embedding"],
    weights: Float[np.ndarray, "classes embedding"],
    labels: Int[np.ndarray, " images"],
    k: int = 1,
) -> float:
    """The share of images whose class is among the `k` nearest. Of classes that are equally near, the own is the last."""
    cosines = np.asarray(images, np.float32) @ np.asarray(weights, np.float32).T
    own = cosines[np.arange(len(labels)), labels]
    return float(np.mean((cosines >= own[:, None]).sum(1) <= k))
