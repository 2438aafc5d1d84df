"""GPT with the splash kernel compiles for TPU chips, forward and backward, on this machine."""

import jax
import jax.numpy as jnp
import pytest
from flax import linen as nn

from genjax.models.gpt import GPT, GPTConfig
from genjax.parallel.mesh import MeshConfig, make_mesh
from genjax.parallel.rules import batch_sharding, context, tree_shardings
from genjax.training.compile_only import count_collectives, topology_devices

pytest.importorskip("libtpu", reason="libtpu compiles for TPU slices; it comes with the extra `test` or `tpu`")
pytestmark = pytest.mark.tpu_compile

CONFIG = GPTConfig(
    vocab_size=512,
    context_length=256,
    num_layers=1,
    num_heads=4,
    num_kv_heads=2,
    head_dim=128,
    embed_dim=128,
    mlp_dim=384,
    position="rotary",
    norm="rmsnorm",
    sliding_window=100,
    use_bias=False,
    dtype="bfloat16",
    attention="splash",
)


@pytest.fixture(scope="module")
def chips():
    return topology_devices("v5e:2x2")


@pytest.fixture(autouse=True)
def no_compilation_cache():
    """It cannot read a program for devices that are not there."""
    before = jax.config.jax_enable_compilation_cache
    jax.config.update("jax_enable_compilation_cache", False)
    yield
    jax.config.update("jax_enable_compilation_cache", before)


@pytest.mark.parametrize(
    ("config", "collectives"),
    [
        (MeshConfig(data=4), {"all-reduce"}),  # gradients
        (MeshConfig(data=1, tensor=4), {"all-reduce"}),  # two key heads for four devices
        (MeshConfig(data=1, fsdp=2, sequence=2), {"all-gather"}),  # parameters, keys and values
    ],
)
def test_segments_grouped_queries_and_a_window_compile_with_the_kernel(chips, config, collectives):
    model, mesh = GPT(CONFIG), make_mesh(config, chips)

    def loss(params, tokens, segment_ids):
        return model.apply({"params": params}, tokens, segment_ids=segment_ids, positions=tokens).mean()

    with context(mesh):
        boxed = jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((4, 256), jnp.int32)))["params"]
        shapes = jax.tree.map(
            lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
            nn.unbox(boxed),
            tree_shardings(boxed, mesh),
        )
        tokens = jax.ShapeDtypeStruct((4, 256), jnp.int32, sharding=batch_sharding(mesh, ndim=2))
        text = jax.jit(jax.grad(loss)).lower(shapes, tokens, tokens).compile().as_text()
    assert text.count('custom_call_target="tpu_custom_call"') >= 2  # attention forward and backward
    assert collectives <= set(count_collectives(text))
    assert "256,256]" not in text  # weights of queries and keys never exist
