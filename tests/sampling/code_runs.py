"""A tiny code model that nobody trained, as a run directory."""

import json

import jax
import jax.numpy as jnp
from flax import linen as nn

from genjax import data, tasks
from genjax.training.checkpoints import Checkpoints

CONFIG = {
    "seed": 0,
    "task": {"name": "code_model", "model": {"num_layers": 1, "num_heads": 1, "embed_dim": 16, "context_length": 96}},
    "data": {"name": "code", "source": "stdlib", "tokenizer": {"name": "byte", "fim_tokens": True}, "sequence_length": 96},
}


def make_run(folder, tokenizer, **section):
    """A run directory; `section` replaces keys of its data."""
    config = CONFIG | {"data": CONFIG["data"] | section}
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    tokenizer.save(folder / "tokenizer")
    task = tasks.build(config["task"], data.describe(config["data"], tokenizer))
    variables = jax.tree.map(lambda x: x * 5, nn.unbox(jax.jit(task.init)(jax.random.key(1))))
    with Checkpoints(folder / "checkpoints", asynchronous=False) as checkpoints:
        state = {"step": jnp.asarray(1), "variables": variables, "ema": {}, "optimizers": {}}
        checkpoints.save(1, state, {"config": config})
    return folder
