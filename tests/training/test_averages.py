"""Averages: how they follow, and snapshots of them from wherever they lie."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from genjax.errors import ConfigError, RunError
from genjax.parallel.mesh import MeshConfig, make_mesh
from genjax.storage.snapshots import find_snapshots, reconstruct
from genjax.training.averages import EmaConfig, save_snapshots, update

CONFIG = EmaConfig(decays=(0.9,), stds=(0.05, 0.1), snapshot_every=5)


def averages(sharding=None):
    leaf = np.arange(32, dtype=np.float32).reshape(8, 4) / 8  # exact in float16
    trees = {name: {"net": {"params": {"kernel": leaf + i}}} for i, name in enumerate(CONFIG.names)}
    return jax.device_put(trees, sharding)


def test_what_is_spread_over_devices_is_whole_in_a_file(tmp_path, cpu_devices):
    mesh = make_mesh(MeshConfig(data=2, tensor=4), cpu_devices)
    for name, sharding in (("one", None), ("mesh", NamedSharding(mesh, PartitionSpec(None, "tensor")))):
        save_snapshots(tmp_path / name, 5, averages(sharding), CONFIG)
    one, spread = (find_snapshots(tmp_path / name) for name in ("one", "mesh"))
    assert [(s.step, s.std) for s in one] == [(5, 0.05), (5, 0.1)]
    assert [s.file.read_bytes() for s in one] == [s.file.read_bytes() for s in spread]
    kernel = reconstruct(spread, 5, 0.1)[0]["net/params/kernel"]
    np.testing.assert_array_equal(kernel, np.arange(32).reshape(8, 4) / 8 + 2)


def test_a_disk_that_refuses_stops_the_run(tmp_path):
    (tmp_path / "ema").write_text("a file where the folder should be")
    with pytest.raises(RunError, match="the snapshot of step 3 cannot be written to .*ema: file exists"):
        save_snapshots(tmp_path / "ema", 3, averages(), CONFIG)


def test_a_ramp_lets_the_half_life_grow_with_the_run():
    """The public code of StyleGAN2-ADA: beta = 0.5 ** (1 / min(half life, steps so far * ramp))."""
    config = EmaConfig(decays=(0.5 ** (1 / 4),), rampup=0.05)
    (name,) = config.names
    values, average = np.random.default_rng(0).standard_normal(200), 7.0
    found = {name: {"x": jnp.asarray(7.0)}}
    step = jax.jit(lambda found, value, count: update(found, {"x": value}, count, config))
    for count, value in enumerate(values):
        beta = 0.5 ** (1 / max(min(4, count * 0.05), 1e-8))
        average = value + (average - value) * beta
        found = step(found, jnp.asarray(value, jnp.float32), jnp.asarray(count))
        if count in (0, 30, 199):
            np.testing.assert_allclose(found[name]["x"], average, rtol=1e-4, atol=1e-6)
    with pytest.raises(ConfigError, match="ema.rampup is -1"):
        EmaConfig(rampup=-1.0)
