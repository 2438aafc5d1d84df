"""What the compiler makes of GPT on eight devices: the collectives that a mesh needs, and nothing whole that is split."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from genjax.models.gpt import GPT
from genjax.parallel.mesh import MeshConfig, make_mesh
from genjax.parallel.rules import DEFAULT_RULES, batch_sharding, context, tree_shardings
from tests.models.gpt_cases import LLAMA

CONFIG = dataclasses.replace(LLAMA, context_length=32, num_kv_heads=4, mlp_dim=0, tie_embeddings=True)
TOKENS = jnp.asarray(np.random.default_rng(0).integers(0, 64, (8, 16)), jnp.int32)
COLLECTIVES = r"= .*? (all-reduce|all-gather|reduce-scatter|all-to-all)(?:-start)?\("


def init():
    return GPT(CONFIG).init(jax.random.key(0), TOKENS[:1])


def compiled_gradient(mesh):
    shardings = tree_shardings(jax.eval_shape(init), mesh)
    parameters = jax.tree.map(
        lambda a, s: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=s), nn.unbox(jax.eval_shape(init)), shardings
    )
    tokens = jax.ShapeDtypeStruct(TOKENS.shape, TOKENS.dtype, sharding=batch_sharding(mesh, DEFAULT_RULES, 2))
    loss = lambda v, t: jax.nn.logsumexp(GPT(CONFIG).apply(v, t), axis=-1).mean()  # noqa: E731
    with context(mesh):
        return jax.jit(jax.grad(loss), out_shardings=shardings).lower(parameters, tokens).compile().as_text()


@pytest.mark.parametrize(
    ("config", "needed", "needless"),
    [
        (MeshConfig(), {"all-reduce"}, {"all-gather", "all-to-all"}),  # gradients only
        (MeshConfig(data=1, fsdp=8), {"all-gather"}, set()),  # parameters, where they are used
        (MeshConfig(data=2, tensor=4), {"all-reduce"}, set()),  # the sums of attention's and the MLP's parts
        (MeshConfig(data=1, sequence=8), {"all-gather"}, set()),  # keys and values of the other positions
    ],
    ids=["data", "fsdp", "tensor", "sequence"],
)
def test_the_program_holds_the_collectives_that_its_mesh_needs(cpu_devices, config, needed, needless):
    found = set(re.findall(COLLECTIVES, compiled_gradient(make_mesh(config, cpu_devices))))
    assert needed <= found and not needless & found


def test_no_activation_is_whole_on_any_device(cpu_devices):
    program = compiled_gradient(make_mesh(MeshConfig(data=1, fsdp=2, sequence=2, tensor=2), cpu_devices))
    assert "f32[4,8,64]" in program  # the MLP's hidden layer: half of the rows, of the positions and of the features
    assert not re.search(r"f32\[8,16,(32|128|64)\]", program)
