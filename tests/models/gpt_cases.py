"""Small models of two dresses whose every parameter has moved off its initial value."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from genjax.models.gpt import GPT, GPTConfig

# Dimensions divide over eight devices, but for the key heads of the Llama type.
GPT2 = GPTConfig(vocab_size=64, context_length=160, num_layers=2, num_heads=8, embed_dim=32, init_std=0.2)
LLAMA = GPTConfig(
    vocab_size=64,
    context_length=160,
    num_layers=2,
    num_heads=8,
    num_kv_heads=2,
    embed_dim=32,
    mlp_dim=48,
    position="rotary",
    norm="rmsnorm",
    activation="silu",
    gated=True,
    use_bias=False,
    tie_embeddings=False,
    scan_layers=True,
    init_std=0.2,
)
CASES = {"gpt2": GPT2, "llama": LLAMA}


@functools.cache
def parameters(config: GPTConfig):
    """The unboxed parameters, as numpy arrays."""
    params = nn.unbox(jax.jit(GPT(config).init)(jax.random.key(0), jnp.zeros((1, 4), jnp.int32)))["params"]
    rng = np.random.default_rng(1)
    return jax.tree.map(lambda leaf: np.asarray(leaf) + 0.1 * rng.standard_normal(leaf.shape).astype(np.float32), params)


def draw_tokens(config: GPTConfig, batch: int, length: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, config.vocab_size, (batch, length)).astype(np.int32)


@functools.partial(jax.jit, static_argnums=0)
def run(config: GPTConfig, params, tokens, positions=None, segment_ids=None, cache=None):
    return GPT(config).apply({"params": params}, tokens, positions=positions, segment_ids=segment_ids, cache=cache)
