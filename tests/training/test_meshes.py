"""One training step of a GPT is the same on one device and on eight, however the mesh divides it, and really communicates."""

import jax
import numpy as np
import pytest

from genjax.parallel.processes import global_batch
from genjax.training.compile_only import count_collectives
from genjax.training.run_config import structure_run
from genjax.training.setup import make_plan

MODEL = {
    "num_layers": 2,
    "num_heads": 8,
    "num_kv_heads": 4,
    "embed_dim": 64,
    "vocab_size": 264,
    "context_length": 64,
    "position": "rotary",
    "norm": "rmsnorm",
    "activation": "silu",
    "gated": True,
    "use_bias": False,
    "tie_embeddings": False,
}
MESHES = {
    "data": {"data": 8},
    "fsdp": {"data": 1, "fsdp": 8},
    "tensor": {"data": 2, "tensor": 4},
    "sequence": {"data": 1, "sequence": 8},
    "data+fsdp+tensor": {"data": 2, "fsdp": 2, "tensor": 2},
    "fsdp+sequence+tensor": {"data": 1, "fsdp": 2, "sequence": 2, "tensor": 2},
}
# What a mesh cannot do without: gradients are summed over examples and positions; split parameters are gathered; tensor
# parallelism sums partial products; attention over a split sequence gathers keys.
NEEDED = {
    "data": {"all-reduce"},
    "fsdp": {"all-gather", "all-reduce"},
    "tensor": {"all-reduce"},
    "sequence": {"all-reduce", "all-gather"},
    "data+fsdp+tensor": {"all-gather", "all-reduce"},
    "fsdp+sequence+tensor": {"all-gather", "all-reduce"},
}


def config(mesh, accumulation, **model):
    return structure_run(
        {
            "task": {"name": "language_model", "model": MODEL | model},
            "data": {
                "name": "text",
                "source": "stdlib",
                "batch_size": 32,
                "sequence_length": 64,
                "mode": "pack",
                "tokenizer": {"name": "byte"},
            },
            # Adam's first update is g / (|g| + eps): with eps at rounding level, entries whose gradient is rounding noise
            # would move by the full learning rate in either direction.
            "optimizer": {"peak_lr": 1e-3, "schedule": "constant", "weight_decay": 0.1, "clip_norm": 1.0, "eps": 1e-6},
            "train": {"steps": 2, "accumulation": accumulation},
            "mesh": mesh,
        }
    )


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, 257, (32, 65)).astype(np.int32)
    cuts = rng.integers(1, 64, (32, 1))
    segments = 1 + (np.arange(64) >= cuts).astype(np.int32)
    mask = (rng.random((32, 64)) < rng.random((32, 1))).astype(np.int32)  # rows of very different token counts
    positions = np.where(segments == 1, np.arange(64), np.arange(64) - cuts)
    return {
        "tokens": tokens[:, :-1],
        "targets": tokens[:, 1:],
        "segment_ids": segments,
        "positions": positions.astype(np.int32),
        "loss_mask": mask,
    }


def one_step(mesh, accumulation, batch, devices=None, **model):
    plan = make_plan(config(mesh, accumulation, **model), devices=devices, with_data=False)
    compiled = plan.lower_step().compile()
    state = plan.fresh_state()
    with plan.context():
        state, totals = compiled(state, plan.fresh_totals(), global_batch(batch, plan.mesh, plan.rules))
    loss, weight = (float(x) for x in totals["loss"])
    return loss / weight, jax.device_get(state.variables), count_collectives(compiled.as_text())


@pytest.fixture(scope="module")
def alone(batch):
    return one_step({"data": 1}, 1, batch, jax.devices()[:1])


def relative_difference(a, b):
    return np.linalg.norm(np.ravel(a - b)) / np.linalg.norm(np.ravel(b))


@pytest.mark.parametrize(("mesh", "accumulation"), [*((mesh, 1) for mesh in MESHES), ("data", 4), ("data+fsdp+tensor", 4)])
def test_a_step_does_not_depend_on_the_mesh(mesh, accumulation, batch, alone):
    loss, variables, collectives = one_step(MESHES[mesh], accumulation, batch)
    assert loss == pytest.approx(alone[0], rel=1e-5)
    differences = jax.tree.map(relative_difference, variables, alone[1])
    assert max(jax.tree.leaves(differences)) < 1e-5
    assert NEEDED[mesh] <= set(collectives), collectives


def test_one_device_alone_needs_no_collectives(alone):
    assert alone[2] == {}


def test_accumulation_on_one_device_equals_the_full_batch(batch, alone):
    loss, variables, _ = one_step({"data": 1}, 4, batch, jax.devices()[:1])
    assert loss == pytest.approx(alone[0], rel=1e-5)
    assert max(jax.tree.leaves(jax.tree.map(relative_difference, variables, alone[1]))) < 1e-5


def test_scanned_and_rematerialized_layers_on_a_mesh_make_the_same_step(batch, alone):
    loss, _, collectives = one_step(MESHES["data+fsdp+tensor"], 1, batch, scan_layers=True, remat="full")
    assert {"all-gather", "all-reduce"} <= set(collectives)
    # The stacked initialization draws other numbers, so only the size of the loss is comparable.
    assert loss == pytest.approx(alone[0], rel=0.02)
