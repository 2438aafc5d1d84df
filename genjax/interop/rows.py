"""What the tables of several families have in common: the layers of torch, and the questions about a config."""

from collections.abc import Sequence
from typing import Any

import jax
from flax import linen as nn
from flax.core import meta
from flax.traverse_util import flatten_dict

from genjax.interop.names import Row
from genjax.interop.transforms import Chain, Split, Transpose


def linear(theirs: str, ours: str, layers: int = 0) -> list[Row]:
    """A torch Linear (out, in) and our kernel (in, out), with their biases."""
    return [
        Row(f"{theirs}.weight", (f"{ours}/kernel",), Transpose(), layers),
        Row(f"{theirs}.bias", (f"{ours}/bias",), layers=layers),
    ]


def to_heads(theirs: str, ours: str, heads: tuple[int, int], layers: int = 0) -> list[Row]:
    """The Linear of queries, keys or values: its outputs are our (number of heads, width of a head)."""
    return [
        Row(f"{theirs}.weight", (f"{ours}/kernel",), Chain((Transpose(), Split(1, heads))), layers),
        Row(f"{theirs}.bias", (f"{ours}/bias",), Split(0, heads), layers),
    ]


def from_heads(theirs: str, ours: str, heads: tuple[int, int], layers: int = 0) -> list[Row]:
    """The Linear that joins the heads."""
    return [
        Row(f"{theirs}.weight", (f"{ours}/kernel",), Chain((Transpose(), Split(0, heads))), layers),
        Row(f"{theirs}.bias", (f"{ours}/bias",), layers=layers),
    ]


def norm(theirs: str, ours: str, layers: int = 0) -> list[Row]:
    """A LayerNorm: its weight is our scale."""
    return [
        Row(f"{theirs}.weight", (f"{ours}/scale",), layers=layers),
        Row(f"{theirs}.bias", (f"{ours}/bias",), layers=layers),
    ]


def batch_norm(theirs: str, ours: str) -> list[Row]:
    """A BatchNorm with its statistics; paths begin with the collection."""
    return [
        *norm(theirs, f"params/{ours}"),
        Row(f"{theirs}.running_mean", (f"batch_stats/{ours}/mean",)),
        Row(f"{theirs}.running_var", (f"batch_stats/{ours}/var",)),
    ]


def convolution(theirs: str, ours: str) -> list[Row]:
    """A torch Conv2d (features, channels, height, width), our kernel (height, width, channels, features), and their biases."""
    return [
        Row(f"{theirs}.weight", (f"{ours}/kernel",), Transpose((2, 3, 1, 0))),
        Row(f"{theirs}.bias", (f"{ours}/bias",)),
    ]


def shapes_of(module: nn.Module, *inputs: jax.ShapeDtypeStruct | None, **named: Any) -> dict[str, tuple[int, ...]]:
    """Path -> shape of every parameter, from the model itself; nothing is computed."""
    variables = jax.eval_shape(module.init, jax.random.key(0), *inputs, **named)
    return {path: leaf.shape for path, leaf in flatten_dict(meta.unbox(variables["params"]), sep="/").items()}


def variable_shapes(module: nn.Module, *inputs: jax.ShapeDtypeStruct, **named: Any) -> dict[str, tuple[int, ...]]:
    """Path -> shape of every variable, the paths beginning with the collection; nothing is computed."""
    variables = meta.unbox(dict(jax.eval_shape(module.init, jax.random.key(0), *inputs, **named)))
    return {path: leaf.shape for path, leaf in flatten_dict(variables, sep="/").items()}


def differences(found: Any, wanted: Any, names: Sequence[str]) -> list[str]:
    """A phrase for each field in which a checkpoint's config and the one that is to run it differ."""
    return [
        f"{name} is {getattr(found, name)!r} there and {getattr(wanted, name)!r} here"
        for name in names
        if getattr(found, name) != getattr(wanted, name)
    ]
