"""Logical names become shardings, and the shardings reach the compiled program."""

import jax
import jax.numpy as jnp
import pytest
from flax import linen as nn
from jax.sharding import PartitionSpec as P

from genjax.errors import ConfigError
from genjax.parallel.mesh import MeshConfig, make_mesh
from genjax.parallel.rules import (
    DEFAULT_RULES,
    batch_parts,
    batch_sharding,
    constrain,
    context,
    current_context,
    current_platform,
    make_rules,
    on_single_cpu,
    spec_for,
    tree_shardings,
    unsharded_report,
)


@pytest.fixture
def mesh(cpu_devices):
    return make_mesh(MeshConfig(data=2, fsdp=2, tensor=2), cpu_devices)


def test_names_become_axes(mesh):
    assert spec_for(("embed", "heads", "head_dim"), (8, 4, 16), mesh) == P("fsdp", "tensor", None)
    assert spec_for(("activation_batch", "activation_length", None), (8, 16, 3), mesh) == P(("data", "fsdp"), None, None)


def test_an_axis_that_does_not_divide_is_dropped_for_that_dimension(mesh):
    assert spec_for(("embed", "kv_heads", "head_dim"), (8, 1, 16), mesh) == P("fsdp", None, None)
    assert spec_for(("activation_batch",), (6,), mesh) == P("data")  # 6 divides over data=2, not over data=2 times fsdp=2
    assert spec_for(("activation_batch",), (5,), mesh) == P(None)


def test_an_axis_is_used_once(mesh):
    assert spec_for(("mlp", "vocab"), (8, 8), mesh) == P("tensor", None)


def test_overrides_replace_rows():
    rules = make_rules((("embed", None), ("mlp", ("fsdp", "tensor"))))
    assert rules["embed"] is None and rules["mlp"] == ("fsdp", "tensor")
    assert rules["heads"] == DEFAULT_RULES["heads"]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (("embd", "fsdp"), "'embd' is not known; did you mean 'embed'"),
        (("embed", "fdsp"), "'fdsp' is not known; did you mean 'fsdp'"),
        (("embed", ("data", "data")), "names a mesh axis twice"),
        ("embed", "is a pair"),
    ],
)
def test_wrong_overrides_are_explained(override, message):
    with pytest.raises(ConfigError, match=message):
        make_rules((override,))


def test_a_wrong_logical_name_in_a_module_is_found(mesh):
    with pytest.raises(ConfigError, match="did you mean 'activation_batch'"):
        spec_for(("activation_batches",), (8,), mesh)


def test_constraints_reach_the_program_only_inside_a_context(mesh):
    def double(x):
        return constrain(x * 2, "activation_batch", "activation_mlp")

    x = jnp.ones((8, 8))
    assert "harding" not in jax.jit(double).lower(x).as_text()
    with context(mesh):
        lowered = jax.jit(double).lower(x)
        assert '[{"data", "fsdp"}, {"tensor"}]' in lowered.as_text()
        compiled = lowered.compile()
    assert "f32[2,4]" in compiled.as_text()  # each device computes its quarter of the rows and half of the columns
    assert compiled.output_shardings.spec == P(("data", "fsdp"), "tensor")


def test_a_mesh_of_one_device_constrains_nothing(cpu_devices):
    with context(make_mesh(MeshConfig(), cpu_devices[:1])):
        assert "harding_constraint" not in jax.jit(lambda x: constrain(x, "activation_batch")).lower(jnp.ones(8)).as_text()
        assert on_single_cpu()


def test_context_ends(mesh):
    with context(mesh):
        assert current_context() == (mesh, DEFAULT_RULES)
        assert current_platform() == "cpu" and not on_single_cpu()
    assert current_context() is None and on_single_cpu()


class Network(nn.Module):
    @nn.compact
    def __call__(self, x):
        names = nn.with_logical_partitioning(nn.initializers.ones, ("embed", "mlp"))
        kernel = self.param("kernel", names, (8, 6))
        odd = self.param("odd", nn.with_logical_partitioning(nn.initializers.ones, ("mlp",)), (3,))
        return x @ kernel * self.param("plain", nn.initializers.ones, (6,)) + odd[0]


def test_shardings_have_the_structure_of_the_unboxed_tree(mesh):
    boxed = jax.eval_shape(lambda: Network().init(jax.random.key(0), jnp.ones((2, 8))))
    shardings = tree_shardings(boxed, mesh)
    assert jax.tree.structure(shardings) == jax.tree.structure(nn.unbox(boxed))
    assert jax.tree.map(lambda s: s.spec, shardings)["params"] == {"kernel": P("fsdp", "tensor"), "odd": P(None), "plain": P()}
    assert unsharded_report(boxed, mesh) == [
        "params/odd: dimension mlp of 3 does not divide over tensor=2, and is not split over all of it."
    ]


def test_initialization_under_jit_is_born_sharded(mesh):
    def init():
        return Network().init(jax.random.key(0), jnp.ones((2, 8)))

    shardings = tree_shardings(jax.eval_shape(init), mesh)
    with context(mesh):
        variables = jax.jit(lambda: nn.unbox(init()), out_shardings=shardings)()
    assert variables["params"]["kernel"].addressable_shards[0].data.shape == (4, 3)


def test_batches_are_split_by_rows(mesh):
    assert batch_sharding(mesh, DEFAULT_RULES, 2).spec == P(("data", "fsdp"), None)
    assert batch_parts(mesh) == 4
