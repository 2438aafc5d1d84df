"""The engine of name tables: both layouts, both directions, and one message for everything that does not fit."""

import numpy as np
import pytest

from genjax.errors import CheckpointError
from genjax.interop import lazy, names
from genjax.interop.names import Row, Table
from genjax.interop.transforms import Fused, Transpose

LAYERS = 12
TABLE = Table(
    rows=(
        Row("net.embed", ("embed/embedding",)),
        Row("net.h.{layer}.w", ("blocks_{layer}/w/kernel",), Transpose(), LAYERS),
        Row("net.h.{layer}.kv", ("blocks_{layer}/key/kernel", "blocks_{layer}/value/kernel"), Fused(1, (2, 3)), LAYERS),
    ),
    ignored=(r"net\.h\.\d+\.mask",),
    copies=(("head", "net.embed", "tied"),),
    renames=((r"^(?!net\.|head)", "net."), (r"\.gamma$", ".w")),
)
STACKED = {
    "embed/embedding": (7, 4),
    "blocks/w/kernel": (LAYERS, 4, 6),
    "blocks/key/kernel": (LAYERS, 4, 2),
    "blocks/value/kernel": (LAYERS, 4, 3),
}
APART = {"embed/embedding": (7, 4)} | {
    f"blocks_{i}/{name}/kernel": (4, n) for i in range(LAYERS) for name, n in (("w", 6), ("key", 2), ("value", 3))
}


def checkpoint():
    rng = np.random.default_rng(0)
    values = {"net.embed": rng.normal(size=(7, 4))}
    for i in range(LAYERS):
        values |= {f"net.h.{i}.w": rng.normal(size=(6, 4)), f"net.h.{i}.kv": rng.normal(size=(4, 5))}
    return values


def as_lazy(values):
    return {key: lazy.of_array(value) for key, value in values.items()}


def load(arrays):
    return {key: array.load() for key, array in arrays.items()}


def assert_same(one, other):
    assert one.keys() == other.keys()
    for key in one:
        np.testing.assert_array_equal(one[key], other[key], err_msg=key)


def test_layers_apart_and_stacked_hold_the_same_numbers():
    values = checkpoint()
    apart = load(names.to_ours(TABLE, as_lazy(values), APART, "here"))
    stacked = load(names.to_ours(TABLE, as_lazy(values), STACKED, "here"))
    assert {path: a.shape for path, a in apart.items()} == APART
    assert {path: a.shape for path, a in stacked.items()} == STACKED
    for i in range(LAYERS):  # twelve layers: 10 and 11 must not stand between 1 and 2
        np.testing.assert_array_equal(apart[f"blocks_{i}/w/kernel"], values[f"net.h.{i}.w"].T)
        np.testing.assert_array_equal(stacked["blocks/w/kernel"][i], values[f"net.h.{i}.w"].T)
        np.testing.assert_array_equal(stacked["blocks/value/kernel"][i], values[f"net.h.{i}.kv"][:, 2:])


@pytest.mark.parametrize("shapes", [STACKED, APART], ids=["stacked", "apart"])
def test_there_and_back_is_the_same_checkpoint(shapes):
    values = checkpoint()
    ours = load(names.to_ours(TABLE, as_lazy(values), shapes, "here"))
    assert_same(load(names.to_theirs(TABLE, as_lazy(ours), shapes)), values)


def test_one_message_lists_every_tensor_that_does_not_fit():
    values = checkpoint()
    del values["net.embed"], values["net.h.3.w"]
    values["net.h.7.kv"] = np.zeros((5, 4))
    values |= {"net.h.12.w": np.zeros((6, 4)), "net.extra": np.zeros(())}
    with pytest.raises(CheckpointError) as error:
        names.to_ours(TABLE, as_lazy(values), STACKED, "folder")
    assert str(error.value).splitlines() == [
        "folder does not fit the model that its config describes (5 tensors):",
        "  missing: net.embed, expected (7, 4)",
        "  missing: net.h.3.w, expected (6, 4)",
        "  wrong shape: net.h.7.kv is (5, 4), expected (4, 5)",
        "  left over: net.h.12.w (6, 4), which this model has no place for",
        "  left over: net.extra (), which this model has no place for",
    ]


def test_old_names_and_missing_prefixes_are_understood_and_masks_ignored():
    values = checkpoint()
    old = {key.removeprefix("net.").replace("5.w", "5.gamma"): value for key, value in values.items()}
    old["h.0.mask"] = np.ones((1, 1))
    assert_same(
        load(names.to_ours(TABLE, as_lazy(old), STACKED, "here")), load(names.to_ours(TABLE, as_lazy(values), STACKED, "here"))
    )


def test_two_names_of_one_tensor_are_an_error():
    values = checkpoint() | {"embed": np.zeros((7, 4))}
    with pytest.raises(CheckpointError, match="twice: net.embed and embed are both net.embed"):
        names.to_ours(TABLE, as_lazy(values), STACKED, "here")


def test_a_tied_copy_may_be_absent_equal_or_alone_but_not_different():
    values = checkpoint()
    expected = load(names.to_ours(TABLE, as_lazy(values), STACKED, "here"))
    both = values | {"head": values["net.embed"].copy()}
    assert_same(load(names.to_ours(TABLE, as_lazy(both), STACKED, "here")), expected)
    alone = {key: value for key, value in both.items() if key != "net.embed"}
    assert_same(load(names.to_ours(TABLE, as_lazy(alone), STACKED, "here")), expected)
    different = values | {"head": values["net.embed"] + 1}
    with pytest.raises(CheckpointError, match="not tied: head differs from net.embed, although tied is true"):
        names.to_ours(TABLE, as_lazy(different), STACKED, "here")


def test_writing_lists_every_parameter_that_does_not_fit_the_config():
    ours = load(names.to_ours(TABLE, as_lazy(checkpoint()), STACKED, "here"))
    del ours["blocks/key/kernel"]
    ours["blocks/w/kernel"] = ours["blocks/w/kernel"][:11]
    ours["more"] = np.zeros(3)
    with pytest.raises(CheckpointError) as error:
        names.to_theirs(TABLE, as_lazy(ours), STACKED)
    assert str(error.value).splitlines()[1:] == [
        "  missing: blocks/key/kernel, expected (12, 4, 2)",
        "  left over: more (3,)",
        "  wrong shape: blocks/w/kernel is (11, 4, 6), expected (12, 4, 6)",
    ]


def test_a_table_that_does_not_cover_the_model_is_a_defect():
    with pytest.raises(KeyError, match="lacks the model's norm/scale"):
        names.to_ours(TABLE, as_lazy(checkpoint()), STACKED | {"norm/scale": (4,)}, "here")
    with pytest.raises(KeyError, match="no such parameter"):
        names.to_ours(TABLE, as_lazy(checkpoint()), {"embed/embedding": (7, 4)}, "here")
