"""The same numbers on eight devices as on one, however they are divided."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.layers.cache import init_cache
from genjax.models.gpt import GPT
from genjax.parallel.mesh import MeshConfig, make_mesh
from genjax.parallel.processes import global_batch
from genjax.parallel.rules import context, tree_shardings, unsharded_report
from tests.models.gpt_cases import CASES, GPT2, LLAMA, draw_tokens, parameters, run

MESHES = {
    "data": MeshConfig(data=8),
    "fsdp": MeshConfig(data=1, fsdp=8),
    "tensor": MeshConfig(data=1, tensor=8),
    "sequence": MeshConfig(data=1, sequence=8),
    "data, fsdp, tensor": MeshConfig(data=2, fsdp=2, tensor=2),
    "fsdp, sequence, tensor": MeshConfig(data=1, fsdp=2, sequence=2, tensor=2),
}


def boxed(config):
    return jax.eval_shape(lambda: GPT(config).init(jax.random.key(0), jnp.zeros((1, 4), jnp.int32)))["params"]


def batch_of(config):
    """Packed rows with padding at the end."""
    segment_ids = np.repeat([[1, 2, 0]], 8, 0).repeat([7, 6, 3], 1).astype(np.int32)
    positions = np.concatenate([np.arange(7), np.arange(6), np.zeros(3)]).astype(np.int32)
    return {"tokens": draw_tokens(config, 8, 16), "segment_ids": segment_ids, "positions": np.tile(positions, (8, 1))}


def loss(params, config, batch):
    names = {"positions": batch["positions"], "segment_ids": batch["segment_ids"]}
    logits = GPT(config).apply({"params": params}, batch["tokens"], **names)
    log_probabilities = jax.nn.log_softmax(logits)
    return -jnp.mean(jnp.take_along_axis(log_probabilities, batch["tokens"][..., None], -1)), logits


@pytest.mark.parametrize("mesh", MESHES)
@pytest.mark.parametrize("case", CASES)
def test_logits_and_gradients_equal_one_device(cpu_devices, case, mesh):
    config, batch = CASES[case], batch_of(CASES[case])
    params = parameters(config)
    step = jax.jit(jax.value_and_grad(loss, has_aux=True), static_argnums=1)
    (_, expected), expected_gradient = step(params, config, batch)
    opened = make_mesh(MESHES[mesh], cpu_devices)
    with context(opened):
        placed = jax.device_put(params, tree_shardings(boxed(config), opened))
        (_, logits), gradient = step(placed, config, global_batch(batch, opened))
    # Logits are about 5, sums of 32 products whose order differs.
    np.testing.assert_allclose(logits, expected, atol=1e-5 * np.abs(expected).max())
    for own, other in zip(jax.tree.leaves(gradient), jax.tree.leaves(expected_gradient), strict=True):
        np.testing.assert_allclose(own, other, atol=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_decoding_with_a_cache_equals_one_device(cpu_devices, case):
    config = CASES[case]
    tokens, params = draw_tokens(config, 8, 10), parameters(config)
    start = np.array([0, 3] * 4, np.int32)
    expected = [run(config, params, tokens[b : b + 1, start[b] :]) for b in range(8)]
    mesh = make_mesh(MeshConfig(data=2, tensor=4), cpu_devices)
    with context(mesh):
        placed = jax.device_put(params, tree_shardings(boxed(config), mesh))
        stacked = config.scan_layers
        cache = init_cache(2, 8, 12, config.kv_heads, config.head_width, stacked=stacked, start=start)
        parts = []
        for piece in (slice(0, 7), slice(7, 8), slice(8, 9), slice(9, 10)):
            logits, cache = run(config, placed, tokens[:, piece], cache=cache)
            parts.append(logits)
    out = np.concatenate(parts, 1)
    for b in range(8):
        np.testing.assert_allclose(out[b, start[b] :], expected[b][0], atol=1e-5 * np.abs(out).max())


@pytest.mark.parametrize(
    ("config", "name", "shape"),
    [
        (MeshConfig(data=1, fsdp=8), ("token_embed", "embedding"), (64, 4)),
        (MeshConfig(data=1, tensor=8), ("token_embed", "embedding"), (8, 32)),
        (MeshConfig(data=2, fsdp=2, tensor=2), ("blocks_0", "attention", "query", "kernel"), (16, 4, 4)),
        (MeshConfig(data=2, fsdp=2, tensor=2), ("blocks_1", "attention", "out", "kernel"), (4, 4, 16)),
        (MeshConfig(data=2, fsdp=2, tensor=2), ("blocks_0", "mlp", "up", "kernel"), (16, 64)),
        (MeshConfig(data=8), ("blocks_0", "mlp", "up", "kernel"), (32, 128)),
    ],
)
def test_each_device_holds_its_part_of_a_parameter(cpu_devices, config, name, shape):
    tree, full = tree_shardings(boxed(GPT2), make_mesh(config, cpu_devices)), parameters(GPT2)
    for part in name:
        tree, full = tree[part], full[part]
    assert tree.shard_shape(full.shape) == shape


def test_what_cannot_be_split_is_reported(cpu_devices):
    """Two key heads on eight devices: keys and values, and nothing else."""
    lines = unsharded_report(boxed(LLAMA), make_mesh(MeshConfig(data=1, tensor=8), cpu_devices))
    assert [line.split(":")[0] for line in lines] == ["blocks/attention/key/kernel", "blocks/attention/value/kernel"]
    assert all("dimension kv_heads of 2 does not divide over tensor=8" in line for line in lines)
    assert unsharded_report(boxed(GPT2), make_mesh(MeshConfig(data=1, tensor=8), cpu_devices)) == []


def test_the_models_constraints_reach_the_compiler_inside_a_context_only(cpu_devices):
    tokens = draw_tokens(GPT2, 8, 16)

    def lower():
        return jax.jit(lambda params: GPT(GPT2).apply({"params": params}, tokens)).lower(parameters(GPT2))

    assert "sharding_constraint" not in lower().as_text()
    with context(make_mesh(MeshConfig(data=2, tensor=4), cpu_devices)):
        lowered = lower()
        text, compiled = lowered.as_text(), lowered.compile().as_text()
    # Each block: query, key, value, attention's output, two sums and the hidden layer; outside: tokens, table, stream, logits.
    assert text.count("sharding_constraint") >= 2 * 7 + 4
    # Attention's and the MLP's products are split over tensor, so each block must add parts up at least twice.
    assert compiled.count(" all-reduce(") + compiled.count(" reduce-scatter(") >= 2 * 2
