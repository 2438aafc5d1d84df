"""Which device stands where in a mesh: neighbours along tensor, slices along data."""

import jax
import jax.numpy as jnp
import pytest

from genjax.parallel.mesh import MeshConfig, make_mesh
from genjax.parallel.rules import DEFAULT_RULES, constrain, context, current_context, make_rules


def test_neighbours_differ_along_tensor(cpu_devices):
    """Tensor parallelism talks most, so it must lie on neighbouring devices."""
    mesh = make_mesh(MeshConfig(tensor=4), cpu_devices)
    assert [device.id for device in mesh.devices[0, 0, 0]] == [device.id for device in cpu_devices[:4]]


def test_slices_split_the_data_axis_only():
    class Chip:
        """A TPU chip, as far as the layout of a mesh asks."""

        platform, device_kind = "cpu", "chip"

        def __init__(self, number: int):
            self.id = self.process_index = number
            self.slice_index = number % 2  # so that the order of the devices is not the answer

    mesh = make_mesh(MeshConfig(data=4, tensor=2, slices=2), [Chip(i) for i in range(8)])
    assert [{chip.slice_index for chip in row.flat} for row in mesh.devices] == [{0}, {0}, {1}, {1}]


def test_a_sum_over_a_constrained_dimension_crosses_devices_inside_a_context_only(cpu_devices):
    def program(x):
        return jnp.sum(constrain(x, "activation_batch", "activation_mlp"))

    x = jnp.ones((8, 4))
    assert "all-reduce" not in jax.jit(program).lower(x).compile().as_text()
    with context(make_mesh(MeshConfig(data=2, tensor=4), cpu_devices)):
        assert "all-reduce" in jax.jit(program).lower(x).compile().as_text()


def test_contexts_nest_and_end_also_with_an_error(cpu_devices):
    mesh, rules = make_mesh(MeshConfig(), cpu_devices), make_rules((("embed", None),))
    with context(mesh):
        with pytest.raises(KeyError), context(mesh, rules):
            assert current_context() == (mesh, rules)
            raise KeyError
        assert current_context() == (mesh, DEFAULT_RULES)
    assert current_context() is None
