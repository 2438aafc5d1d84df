"""The attention weights of any model that is made of blocks: kept by its layers when asked, gathered here by stack."""

import re
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from flax.traverse_util import flatten_dict
from jaxtyping import Array, Float

from genjax.layers.multihead import WEIGHTS


def attention_maps(
    module: nn.Module, variables: Mapping[str, Any], *arguments: Any, method: Any = None, **options: Any
) -> tuple[Any, dict[str, Float[Array, "layers batch heads queries keys"]]]:
    """What a model with unrolled layers says, and the weights of all its attention: `module.apply(variables, *arguments, ...)`.

    Returns:
        The result, and by stack ("attention" of a GPT, "decoder/cross_attention" of an encoder-decoder) the weights of its
        layers in order. Each query's weights add up to 1.

    Raises:
        ValueError: layers are scanned: their weights are not kept. Unstack them (`models.transformer.unstack_blocks`).
    """
    result, kept = module.apply(variables, *arguments, method=method, mutable=["intermediates"], **options)
    stacks: dict[str, dict[int, Array]] = {}
    for path, (weights,) in flatten_dict(kept.get("intermediates", {}), sep="/").items():
        if not path.endswith(f"/{WEIGHTS}"):
            continue
        place = path.removesuffix(f"/{WEIGHTS}")
        number = re.search(r"_(\d+)(?=/)", place)
        stack = re.sub(r"(blocks|layers)_\d+/", "", place)
        stacks.setdefault(stack, {})[int(number[1]) if number else 0] = weights
    if not stacks:
        raise ValueError("no attention weights were kept; layers must be unrolled (scan_layers=False) and used without a cache")
    return result, {name: jnp.stack([layers[i] for i in sorted(layers)]) for name, layers in stacks.items()}
