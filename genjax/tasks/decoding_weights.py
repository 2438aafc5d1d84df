"""Weights as decoding reads them: layers apart, in the compute dtype, and on one CPU device also transposed."""

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

import jax

from genjax.layers.linear import TRANSPOSED
from genjax.models.gpt import transposed_copies
from genjax.models.transformer import unstack_blocks
from genjax.parallel.rules import on_single_cpu

# Parameters up to this size are kept twice for decoding on one CPU device, see `transposed_copies`.
_TRANSPOSED_BYTES = 1 << 31

Config = TypeVar("Config")


def unrolled(config: Config) -> Config:
    """A transformer's config for the weights that these functions give: no scan, no remat, no dropout."""
    return dataclasses.replace(config, scan_layers=False, remat="none", dropout=0.0)


def for_decoding(params: Mapping[str, Any], dtype: str) -> dict[str, Any]:
    """Parameters with their layers apart (a scan would copy each layer's weights once more for every token), at whatever depth,
    and everything but the norms' scales in the compute dtype."""
    cast = lambda path, x: x if path[-1].key == "scale" else x.astype(dtype)  # noqa: E731
    return jax.tree_util.tree_map_with_path(cast, jax.jit(_apart)(params))


def gpt_variables(params: Mapping[str, Any], inside: str = "") -> dict[str, Any]:
    """Variables of a GPT, or of a model that holds one by the name `inside`: on one CPU device and where memory allows, with
    transposed copies of the GPT's weights.

    Args:
        params: as `for_decoding` gives them.
    """
    if not on_single_cpu() or sum(leaf.nbytes for leaf in jax.tree.leaves(params)) > _TRANSPOSED_BYTES:
        return {"params": params}
    copies = jax.jit(transposed_copies)(params[inside] if inside else params)
    return {"params": params, TRANSPOSED: {inside: copies} if inside else copies}


def _apart(params: Mapping[str, Any]) -> dict[str, Any]:
    if "blocks" in params:
        return unstack_blocks(params)
    return {name: _apart(value) if isinstance(value, Mapping) else value for name, value in params.items()}
