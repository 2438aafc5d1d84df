"""DiT: published sizes and operations, logical axes, how it begins, and what it refuses."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.core import meta

from genjax.errors import ConfigError
from genjax.layers.position import grid_positions
from genjax.models.dit import DiT, DiTConfig, flops_per_sample
from genjax.models.dit_sizes import DIT_SIZES

# Peebles and Xie, 2023, table 4: multiplications of one forward pass, in billions.
OPERATIONS = {
    **{"dit_s8": 0.36, "dit_s4": 1.41, "dit_s2": 6.06, "dit_b8": 1.42, "dit_b4": 5.56, "dit_b2": 23.01},
    **{"dit_l8": 5.01, "dit_l4": 19.70, "dit_l2": 80.71, "dit_xl8": 7.39, "dit_xl4": 29.05, "dit_xl2": 118.64},
}
MILLIONS = {"dit_s": 33, "dit_b": 130, "dit_l": 458, "dit_xl": 675}
TINY = DiTConfig(sample_size=8, num_layers=2, num_heads=2, embed_dim=8, num_classes=4)
X = np.random.default_rng(0).standard_normal((3, 8, 8, 4), np.float32)
TIMES, CLASSES = np.asarray([1, 50, 900]), np.asarray([0, 3, 4])


def abstract(config):
    config = dataclasses.replace(config, scan_layers=True)
    shape = lambda size, dtype: jax.ShapeDtypeStruct(size, dtype)  # noqa: E731
    x = shape((1, config.sample_size, config.sample_size, config.in_channels), "float32")
    return jax.eval_shape(DiT(config).init, jax.random.key(0), x, shape((1,), "int32"), shape((1,), "int32"))


@pytest.mark.parametrize("size", DIT_SIZES)
def test_parameters_and_operations_are_counted_as_published(size):
    """The paper's code counts its table of fixed positions among the parameters: the published DiT-XL/2 has 675,129,632."""
    config, tree = DIT_SIZES[size], abstract(DIT_SIZES[size])
    count = sum(leaf.size for leaf in jax.tree.leaves(tree)) + config.grid**2 * config.embed_dim
    assert count / 1e6 == pytest.approx(MILLIONS[size[:-1]], rel=0.01)
    assert size != "dit_xl2" or count == 675_129_632
    assert flops_per_sample(config) / 6e9 == pytest.approx(OPERATIONS[size], rel=3e-3, abs=5e-3)
    for path, box in jax.tree_util.tree_flatten_with_path(tree, is_leaf=lambda x: hasattr(x, "names"))[0]:
        ends = "head" in str(path)  # the places of a patch, which no mesh splits
        assert len(box.names) == box.value.ndim and (ends or any(box.names)), path


def test_positions_are_the_formula():
    """Columns in the first half, rows in the second; frequencies 10,000 ** (-i / (features / 4)); steps of base / count."""
    table = grid_positions(2, 3, 12, base=6).reshape(2, 3, 12)
    for row in range(2):
        for column in range(3):
            for i in range(3):
                angle = np.asarray([column * 2, row * 3]) * 10_000 ** (-i / 3)
                parts = table[row, column].reshape(2, 2, 3)[:, :, i]
                np.testing.assert_allclose(parts, np.stack([np.sin(angle), np.cos(angle)], 1), atol=1e-6)


def test_it_begins_as_0_and_each_block_as_the_identity():
    """adaLN-Zero: at first only the last layer learns, then what its output depends on."""
    variables = jax.jit(DiT(TINY).init)(jax.random.key(0), X, TIMES, CLASSES)
    loss = lambda params: ((DiT(TINY).apply({"params": params}, X, TIMES, CLASSES) - 1) ** 2).mean()  # noqa: E731
    value, gradients = jax.jit(jax.value_and_grad(loss))(meta.unbox(variables)["params"])
    assert value == 1
    assert np.abs(gradients["final"]["head"]["kernel"]).max() > 0
    assert not np.any(gradients["blocks_0"]["mlp"]["up"]["kernel"]) and not np.any(gradients["final"]["modulation"]["kernel"])


def test_classes_of_several_attributes_are_added_and_the_last_is_none():
    params = jax.tree.map(
        lambda leaf: np.random.default_rng(leaf.size).standard_normal(leaf.shape, np.float32) / 3,
        meta.unbox(jax.eval_shape(DiT(TINY).init, jax.random.key(0), X, TIMES, CLASSES))["params"],
    )
    apply = jax.jit(lambda params, classes: DiT(TINY).apply({"params": params}, X, TIMES, classes))
    table, pairs = params["conditions"]["classes"]["embedding"], np.asarray([[0, 4], [1, 1], [3, 0]])
    assert table.shape == (5, 8)
    found = apply(params, pairs)
    params["conditions"]["classes"]["embedding"] = np.concatenate([table[pairs].sum(1), table[:2]])
    np.testing.assert_allclose(found, apply(params, np.arange(3)), atol=1e-5)
    assert found.shape == (3, 8, 8, 8) and found.dtype == jnp.float32


@pytest.mark.parametrize(
    "change, message",
    [
        ({"embed_dim": 9}, "embed_dim 9 does not divide over num_heads 2; use 8"),
        ({"embed_dim": 6}, "embed_dim is 6; positions need sines and cosines of rows and columns: a multiple of 4"),
        ({"sample_size": 7}, "sample_size 7 does not divide into patches of 2"),
        ({"out_channels": 0}, "out_channels is 0; it must be 1 or more"),
    ],
)
def test_a_dit_that_cannot_be(change, message):
    with pytest.raises(ConfigError, match=message):
        dataclasses.replace(TINY, **change)


def test_inputs_that_do_not_fit():
    for x, classes, message in (
        (
            X[:, :7],
            CLASSES,
            r"a sample is \(7, 8, 4\); the network reads rows and columns that are multiples of 2, and 4 channels",
        ),
        (X[..., :3], CLASSES, r"a sample is \(8, 8, 3\)"),
        (X, None, "was given no classes; it knows 5"),
    ):
        with pytest.raises(ConfigError, match=message):
            jax.eval_shape(DiT(TINY).init, jax.random.key(0), x, TIMES, classes)
    with pytest.raises(ConfigError, match="was given classes; it knows 0"):
        jax.eval_shape(DiT(dataclasses.replace(TINY, num_classes=0)).init, jax.random.key(0), X, TIMES, CLASSES)
