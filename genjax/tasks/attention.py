"""Attention weights with names: what the families' `attention` methods share.

`of_text` serves models that read one text, `of_pair` those that read a source and a target, `of_image` those that read patches.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float, UInt8

from genjax.errors import RequestError
from genjax.models.attention_maps import attention_maps
from genjax.models.transformer import unstack_blocks
from genjax.tasks.contract import AttentionMap

MOST = 128  # tokens whose labels a person can still read


def token_labels(tokenizer: Any, tokens: Sequence[int]) -> tuple[str, ...]:
    """What to call each token: its text, or for a special its part."""
    specials = {getattr(tokenizer, name, None): f"[{name[:-3]}]" for name in ("bos_id", "eos_id", "mask_id", "pad_id")}
    labels = []
    for token in tokens:
        text = tokenizer.decode_bytes([token]).decode("utf-8", "replace")
        text = text.replace("\n", "\\n").replace("\t", "\\t")
        labels.append(text if text else specials.get(token, f"[{token}]"))
    return tuple(labels)


def of_text(
    module: nn.Module, variables: Mapping[str, Any], tokens: Sequence[int], labels: Sequence[str], **options: Any
) -> list[AttentionMap]:
    """The maps of a model with unrolled layers that reads one text.

    Raises:
        RequestError: more tokens than a picture shows.
    """
    check_length(len(tokens))
    apply = jax.jit(lambda v, t: attention_maps(module, v, t, method="hidden", **options)[1])
    maps = apply(variables, np.asarray([tokens], np.int32))
    return [_map(stack, weights, labels, labels) for stack, weights in maps.items()]


def of_pair(
    module: nn.Module,
    variables: Mapping[str, Any],
    source: Array,
    target: Sequence[int],
    source_labels: Sequence[str],
    target_labels: Sequence[str],
    **options: Any,
) -> list[AttentionMap]:
    """The maps of a model with unrolled layers that is called with a source and the tokens of a target: cross-attention first.

    Args:
        source: what the module's first argument is, in a batch of one: tokens, or features of a sound.
        target: tokens as the decoder reads them, its first token included.
        source_labels: empty where the source has no tokens with names.

    Raises:
        RequestError: more tokens than a picture shows.
    """
    check_length(max(len(source_labels), len(target)))
    apply = jax.jit(lambda v, s, t: attention_maps(module, v, s, t, **options)[1])
    maps = apply(variables, source, np.asarray([target], np.int32))
    found = []
    for stack in sorted(maps, key=lambda name: "cross" not in name):
        queries = source_labels if stack.startswith("encoder") else target_labels
        keys = source_labels if stack.startswith("encoder") or "cross" in stack else target_labels
        found.append(_map(stack, maps[stack], queries, keys))
    return found


def of_image(
    module: nn.Module,
    variables: Mapping[str, Any],
    image: Float[Array, "height width channels"],
    picture: UInt8[np.ndarray, "height width 3"],
    patch_size: int,
    method: str,
) -> list[AttentionMap]:
    """What the class token of a model with unrolled layers sees of an image, patch by patch.

    Args:
        image: as the model's `method` reads it (`features` of a ViT, `hidden` of a CLIP tower).
        picture: the same to be looked at.
    """
    grid = (image.shape[0] // patch_size, image.shape[1] // patch_size)
    maps = jax.jit(lambda v, x: attention_maps(module, v, x, method=method)[1])(variables, image[None])
    kept = picture[: grid[0] * patch_size, : grid[1] * patch_size]
    return [
        AttentionMap(_title(stack), np.asarray(weights)[:, 0, :, :1, 1:], ("class",), image=kept, grid=grid)
        for stack, weights in maps.items()
    ]


def unrolled(module: nn.Module, params: Mapping[str, Any]) -> tuple[nn.Module, dict[str, Any]]:
    """The same network with its layers apart, which alone keep their weights, and its variables."""
    params = unstack_blocks(params) if module.config.scan_layers else params
    return type(module)(dataclasses.replace(module.config, scan_layers=False, remat="none")), {"params": params}


def check_length(tokens: int) -> None:
    """Raises RequestError where a picture would have more tokens than a person can read."""
    if tokens > MOST:
        raise RequestError(f"the text has {tokens} tokens, but a picture of attention shows at most {MOST}; shorten it.")


def _map(stack: str, weights: Array, queries: Sequence[str], keys: Sequence[str]) -> AttentionMap:
    return AttentionMap(_title(stack), np.asarray(weights)[:, 0], tuple(queries), tuple(keys))


def _title(stack: str) -> str:
    return stack.replace("/", ", ").replace("_", "-")
