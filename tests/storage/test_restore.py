"""The variables of a checkpoint that training wrote: raw or averaged, on any mesh, and past damaged ones."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from genjax.errors import CheckpointError
from genjax.parallel.mesh import MeshConfig, make_mesh
from genjax.storage.restore import checkpoint_steps, restore_variables
from genjax.training.checkpoints import Checkpoints


def variables(offset=0.0):
    return {
        "gpt": {"params": {"dense": {"kernel": jnp.arange(32.0).reshape(8, 4) + offset}, "scale": jnp.ones(4) + offset}},
        "vae": {"batch_stats": {"mean": jnp.full((3,), offset)}},
    }


def abstract(tree=None):
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), variables() if tree is None else tree)


@pytest.fixture
def run(tmp_path):
    """Checkpoints of steps 1 (raw only) and 2 (with an average of the gpt component)."""
    with Checkpoints(tmp_path / "checkpoints", asynchronous=False) as checkpoints:
        for step, averages in ((1, {}), (2, {"0.9": {"gpt": variables(100.0)["gpt"]}, "0.99": {"gpt": variables(200.0)["gpt"]}})):
            state = {
                "step": jnp.asarray(step),
                "key": jax.random.key(0),
                "variables": variables(step),
                "optimizers": {"optimizer": ({"mu": variables()}, jnp.zeros(()))},
                "ema": averages,
                "gradient_norms": {"a": jnp.zeros(())},
            }
            checkpoints.save(step, state, {"config": {}})
    return tmp_path / "checkpoints"


def same(found, expected):
    jax.tree.map(np.testing.assert_array_equal, found, expected)
    assert jax.tree.structure(found) == jax.tree.structure(expected)


def test_the_newest_with_its_average_where_there_is_one(run):
    for decay, offset in (("0.9", 100.0), ("0.99", 200.0)):
        found, step = restore_variables(run, abstract(), ema=decay)
        assert step == 2
        same(found, {"gpt": variables(offset)["gpt"], "vae": variables(2)["vae"]})


def test_the_raw_variables_and_an_older_step(run):
    same(restore_variables(run, abstract(), ema="")[0], variables(2))
    same(restore_variables(run, abstract(), step=1)[0], variables(1))


def test_onto_a_mesh_and_in_another_dtype(run, cpu_devices):
    mesh = make_mesh(MeshConfig(data=2, tensor=4), cpu_devices)
    wanted = abstract()
    sharding = NamedSharding(mesh, PartitionSpec(None, "tensor"))
    wanted["gpt"]["params"]["dense"]["kernel"] = jax.ShapeDtypeStruct((8, 4), jnp.bfloat16, sharding=sharding)
    found, _ = restore_variables(run, wanted, ema="0.9")
    kernel = found["gpt"]["params"]["dense"]["kernel"]
    assert kernel.sharding == sharding and kernel.dtype == jnp.bfloat16
    np.testing.assert_array_equal(kernel, variables(100.0)["gpt"]["params"]["dense"]["kernel"].astype(jnp.bfloat16))


def test_a_damaged_checkpoint_is_passed_over_with_a_warning(run):
    shutil.rmtree(run / "2" / "state" / "d", ignore_errors=True)
    for file in (run / "2" / "state").glob("manifest*"):
        file.unlink()
    lines = []
    found, step = restore_variables(run, abstract(), report=lines.append)
    assert step == 1 and len(lines) == 1 and "checkpoint 2 is damaged" in lines[0] and lines[0].endswith("using step 1.")
    same(found, variables(1))
    with pytest.raises(CheckpointError, match="nothing can be read from .*: checkpoint 2 is damaged .*; other steps: 1"):
        restore_variables(run, abstract(), step=2)


def test_other_bits_than_were_saved_are_damage(run):
    file = run / "2" / "manifest" / "metadata"
    manifest = json.loads(file.read_text())
    manifest["leaves"]["variables/gpt/params/scale"]["checksum"] ^= 1
    file.write_text(json.dumps(manifest))
    lines = []
    _, step = restore_variables(run, abstract(), report=lines.append)
    assert step == 1 and "the checksum of variables/gpt/params/scale does not match" in lines[0]


def test_what_is_not_a_step_is_not_read(run):
    (run / "3.orbax-checkpoint-tmp-1").mkdir()
    (run / "2.damaged").mkdir()
    assert checkpoint_steps(run) == [1, 2]


def test_no_checkpoint(tmp_path, run):
    with pytest.raises(CheckpointError, match="there is no checkpoint in .*; there are: none"):
        restore_variables(tmp_path / "nowhere", abstract())
    with pytest.raises(CheckpointError, match="there is no checkpoint of step 7 in .*; there are: 1, 2"):
        restore_variables(run, abstract(), step=7)


def test_a_checkpoint_of_another_model_lists_every_leaf_that_differs(run):
    other = variables()
    other["gpt"]["params"]["dense"] = {"kernel": jnp.zeros((8, 5)), "bias": jnp.zeros(5)}
    del other["vae"]
    with pytest.raises(CheckpointError) as error:
        restore_variables(run, abstract(other))
    lines = [line.strip() for line in str(error.value).splitlines()]
    assert "3 leaves differ" in lines[0]
    assert lines[1:] == [
        "gpt/params/dense/bias: in the model only",
        "gpt/params/dense/kernel: (8, 4) in the checkpoint, (8, 5) in the model",
        "vae/batch_stats/mean: in the checkpoint only",
    ]
