"""How several processes would join, and which rows each of them would read."""

from types import SimpleNamespace

import jax
import pytest
from jax.sharding import Mesh

from genjax.errors import ConfigError
from genjax.parallel import processes
from genjax.parallel.mesh import MeshConfig, make_mesh

VARIABLES = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
CLUSTER = (
    "SLURM_NTASKS",
    "OMPI_COMM_WORLD_SIZE",
    "KUBERNETES_SERVICE_HOST",
    "TPU_WORKER_HOSTNAMES",
    "TPU_NAME",
    "TPU_ACCELERATOR_TYPE",
)


@pytest.fixture
def joined(monkeypatch):
    """The calls of jax.distributed.initialize, which is not carried out."""
    calls = []
    for name in (*VARIABLES, *CLUSTER):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(jax.distributed, "initialize", lambda *args, **kwargs: calls.append((args, kwargs)))
    return calls


def test_without_a_cluster_there_is_nothing_to_join(joined):
    processes.initialize()
    assert joined == []


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((None, "2", None), "^JAX_NUM_PROCESSES is set, JAX_COORDINATOR_ADDRESS, JAX_PROCESS_ID is not; set all three"),
        (("host:1", "2", None), "^JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES is set, JAX_PROCESS_ID is not"),
        (("host:1", "2", "0.5"), "must be whole numbers: .*'0.5'"),
    ],
)
def test_variables_that_name_no_process(joined, monkeypatch, values, message):
    for name, value in zip(VARIABLES, values, strict=True):
        if value is not None:
            monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=message):
        processes.initialize()
    assert joined == []


@pytest.mark.parametrize(("count", "calls"), [("1", []), ("3", [(("host:1",), {"num_processes": 3, "process_id": 2})])])
def test_the_three_variables_are_handed_on(joined, monkeypatch, count, calls):
    for name, value in zip(VARIABLES, ("host:1", count, "2"), strict=True):
        monkeypatch.setenv(name, value)
    processes.initialize()
    assert joined == calls


@pytest.mark.parametrize(("tasks", "calls"), [("1", 0), ("4", 1)])
def test_slurm_is_joined_when_it_has_several_tasks(joined, monkeypatch, tasks, calls):
    monkeypatch.setenv("SLURM_NTASKS", tasks)
    processes.initialize()
    assert len(joined) == calls


@pytest.mark.parametrize(
    ("installed", "variables", "updates"),
    [
        ({"libtpu"}, {}, [("jax_platforms", "cpu")]),
        ({"libtpu"}, {"JAX_PLATFORMS": "tpu"}, []),
        ({"libtpu"}, {"TPU_NAME": "pod"}, []),
        ({"libtpu", "jax_cuda13_plugin"}, {}, []),
        (set(), {}, []),
    ],
)
def test_an_absent_tpu_is_not_looked_for(monkeypatch, installed, variables, updates):
    made = []
    for name in (*CLUSTER, "JAX_PLATFORMS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    find = SimpleNamespace(util=SimpleNamespace(find_spec=lambda name: name if name in installed else None))
    monkeypatch.setattr(processes, "importlib", find)
    monkeypatch.setattr(processes, "jax", SimpleNamespace(config=SimpleNamespace(update=lambda *row: made.append(row))))
    processes.leave_out_absent_tpu()
    assert made == updates


@pytest.mark.parametrize(
    ("config", "share", "expected"),
    [
        (MeshConfig(data=8), 2, [(0, 4), (1, 4), (2, 4), (3, 4)]),
        (MeshConfig(data=2, fsdp=4), 4, [(0, 2), (1, 2)]),
        (MeshConfig(data=2, tensor=4), 2, [(0, 2), (0, 2), (1, 2), (1, 2)]),  # two processes hold the same examples
        (MeshConfig(data=1, tensor=8), 4, [(0, 1), (0, 1)]),
        (MeshConfig(data=1, sequence=4, tensor=2), 4, [(0, 1), (0, 1)]),
    ],
)
def test_processes_that_differ_along_tensor_or_sequence_read_the_same_rows(monkeypatch, cpu_devices, config, share, expected):
    mesh = make_mesh(config, cpu_devices)
    found = []
    for first in range(0, 8, share):
        own = cpu_devices[first : first + share]
        monkeypatch.setattr(Mesh, "local_devices", property(lambda self, own=own: own))
        found.append(processes.reader_slice(mesh))
    assert found == expected


def test_rows_that_are_no_equal_share(monkeypatch, cpu_devices):
    mesh = make_mesh(MeshConfig(), cpu_devices)
    monkeypatch.setattr(Mesh, "local_devices", property(lambda self: cpu_devices[1:4]))
    with pytest.raises(ConfigError, match=r"would hold parts \[1, 2, 3\] of 8 of the batch, which are not one equal share"):
        processes.reader_slice(mesh)
