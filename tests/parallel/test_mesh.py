"""Meshes: sizes that fit, sizes that do not, and what is said about them."""

import jax
import pytest
from jax.sharding import AxisType

from genjax.errors import ConfigError
from genjax.parallel.mesh import AXES, MeshConfig, make_mesh, mesh_shape


@pytest.mark.parametrize(
    ("config", "devices", "shape"),
    [
        (MeshConfig(), 8, (8, 1, 1, 1)),
        (MeshConfig(data=2, fsdp=-1), 8, (2, 4, 1, 1)),
        (MeshConfig(data=1, fsdp=2, sequence=2, tensor=-1), 8, (1, 2, 2, 2)),
        (MeshConfig(data=1), 1, (1, 1, 1, 1)),
        (MeshConfig(tensor=8), 256, (32, 1, 1, 8)),
    ],
)
def test_what_remains_fills_the_free_axis(config, devices, shape):
    assert mesh_shape(config, devices) == shape


@pytest.mark.parametrize(
    ("make", "devices", "message"),
    [
        (lambda: MeshConfig(data=3, fsdp=2), 8, "needs 6 devices, but there are 8"),
        (lambda: MeshConfig(fsdp=3), 8, "3 does not divide the 8 devices"),
        (lambda: MeshConfig(data=-1, fsdp=-1), 8, "only one axis may be -1"),
        (lambda: MeshConfig(tensor=0), 8, "mesh.tensor is 0"),
        (lambda: MeshConfig(slices=-1), 8, "mesh.slices is -1"),
        (lambda: MeshConfig(fsdp=8, slices=2), 8, "mesh.slices 2 does not divide the data axis"),
    ],
)
def test_sizes_that_do_not_fit_are_explained(make, devices, message):
    with pytest.raises(ConfigError, match=message):
        mesh_shape(make(), devices)


def test_mesh_leaves_shardings_to_the_compiler(cpu_devices):
    # jax.make_mesh would make the axes Explicit, and every operation would have to agree on shardings.
    mesh = make_mesh(MeshConfig(data=2, fsdp=2, tensor=2), cpu_devices)
    assert mesh.axis_names == AXES
    assert dict(mesh.shape) == {"data": 2, "fsdp": 2, "sequence": 1, "tensor": 2}
    assert set(mesh.axis_types) == {AxisType.Auto}


def test_slices_divide_the_data_axis_where_devices_know_none(cpu_devices):
    mesh = make_mesh(MeshConfig(data=4, fsdp=2, slices=2), cpu_devices)
    assert [d.id for d in mesh.devices.reshape(-1)] == [d.id for d in jax.devices()[:8]]


def test_mesh_of_some_devices(cpu_devices):
    assert make_mesh(MeshConfig(tensor=2), cpu_devices[:4]).shape["data"] == 2
