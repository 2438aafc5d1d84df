"""Snapshots of averages from wherever they lie."""

import jax
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from genjax.errors import RunError
from genjax.parallel.mesh import MeshConfig, make_mesh
from genjax.storage.snapshots import find_snapshots, reconstruct
from genjax.training.averages import EmaConfig, save_snapshots

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
