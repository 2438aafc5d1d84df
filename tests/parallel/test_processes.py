"""One process is a program too; what several do is in tests/runs."""

import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from genjax.errors import ConfigError
from genjax.parallel.mesh import MeshConfig, make_mesh
from genjax.parallel.processes import barrier, global_batch, initialize, is_main, reader_slice


def test_one_process_reads_everything(cpu_devices):
    for config in (MeshConfig(), MeshConfig(data=2, tensor=4), MeshConfig(data=1, sequence=8)):
        assert reader_slice(make_mesh(config, cpu_devices)) == (0, 1)


def test_batches_arrive_whole_and_sharded(cpu_devices):
    rows = np.arange(32, dtype=np.int32).reshape(8, 4)
    arrays = global_batch({"tokens": rows, "weights": rows[:, 0]}, make_mesh(MeshConfig(data=4, tensor=2), cpu_devices))
    np.testing.assert_array_equal(arrays["tokens"], rows)
    assert arrays["tokens"].sharding.spec == P(("data",), None)
    assert arrays["weights"].addressable_shards[0].data.shape == (2,)


def test_half_a_description_of_the_processes_is_refused(monkeypatch):
    monkeypatch.setenv("JAX_COORDINATOR_ADDRESS", "localhost:1234")
    monkeypatch.delenv("JAX_NUM_PROCESSES", raising=False)
    monkeypatch.delenv("JAX_PROCESS_ID", raising=False)
    with pytest.raises(ConfigError, match="JAX_NUM_PROCESSES, JAX_PROCESS_ID is not; set all three"):
        initialize()
    monkeypatch.setenv("JAX_NUM_PROCESSES", "two")
    monkeypatch.setenv("JAX_PROCESS_ID", "0")
    with pytest.raises(ConfigError, match="must be whole numbers"):
        initialize()


def test_one_process_is_main_and_waits_for_nobody():
    assert is_main()
    barrier("nobody else comes")
