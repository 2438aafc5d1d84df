"""What the families that our GPT can read share."""

import jax
from flax.core import meta
from flax.traverse_util import flatten_dict

from genjax.models.gpt import GPT, GPTConfig


def shapes(config: GPTConfig) -> dict[str, tuple[int, ...]]:
    """Path -> shape of every parameter, from the model itself; nothing is computed."""
    tokens = jax.ShapeDtypeStruct((1, 1), "int32")
    variables = jax.eval_shape(GPT(config).init, jax.random.key(0), tokens)
    return {path: leaf.shape for path, leaf in flatten_dict(meta.unbox(variables["params"]), sep="/").items()}
