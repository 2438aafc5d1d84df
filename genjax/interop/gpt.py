"""What the families that our GPT can read share."""

import jax
from flax.core import meta
from flax.traverse_util import flatten_dict

from genjax.models.gpt import GPT, GPTConfig

# Two models that differ in one of these may have the same tensors, and compute other numbers with them.
_MEANING = (
    "num_heads",
    "kv_heads",
    "head_width",
    "position",
    "rope_theta",
    "rope_scaling",
    "norm",
    "norm_epsilon",
    "norm_position",
    "final_norm",
    "activation",
    "gated",
    "sliding_window",
)


def shapes(config: GPTConfig) -> dict[str, tuple[int, ...]]:
    """Path -> shape of every parameter, from the model itself; nothing is computed."""
    tokens = jax.ShapeDtypeStruct((1, 1), "int32")
    variables = jax.eval_shape(GPT(config).init, jax.random.key(0), tokens)
    return {path: leaf.shape for path, leaf in flatten_dict(meta.unbox(variables["params"]), sep="/").items()}


def disagreements(found: GPTConfig, wanted: GPTConfig) -> list[str]:
    """A phrase for each setting in which a checkpoint and the model that is to run it differ, shapes of tensors apart."""
    rotary = "rotary" in (found.position, wanted.position)
    return [
        f"{name} is {getattr(found, name)!r} there and {getattr(wanted, name)!r} here"
        for name in _MEANING
        if getattr(found, name) != getattr(wanted, name) and (rotary or not name.startswith("rope"))
    ]
