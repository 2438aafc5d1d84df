"""BatchNorm and its conditional kind against torch's, statistics and gradients too, on one device and on eight."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from genjax.errors import ConfigError
from genjax.layers.batch_norm import BatchNorm, ConditionalBatchNorm
from genjax.parallel.mesh import MeshConfig, make_mesh
from genjax.parallel.processes import global_batch
from genjax.parallel.rules import context

DRAW = np.random.default_rng(0)
X = (DRAW.normal(size=(8, 4, 3, 6)) * 2 + np.linspace(-5, 50, 6)).astype(np.float32)  # one mean is far from zero
WEIGHT = DRAW.normal(size=X.shape).astype(np.float32)
PARAMS = {"scale": DRAW.normal(size=6).astype(np.float32), "bias": DRAW.normal(size=6).astype(np.float32)}
STATS = {"mean": DRAW.normal(size=6).astype(np.float32) + np.linspace(-5, 50, 6, dtype=np.float32), "var": DRAW.uniform(1, 9, 6)}
STATS["var"] = STATS["var"].astype(np.float32)


def last(value):
    return np.moveaxis(value.detach().numpy(), 1, -1)


def reference(train):
    """Result, gradients of scale, bias and x, new mean, new variance."""
    layer = torch.nn.BatchNorm2d(6)
    with torch.no_grad():
        for name, value in (("weight", PARAMS["scale"]), ("bias", PARAMS["bias"])):
            getattr(layer, name).copy_(torch.from_numpy(value))
        layer.running_mean.copy_(torch.from_numpy(STATS["mean"]))
        layer.running_var.copy_(torch.from_numpy(STATS["var"]))
    layer.double().train(train)
    x = torch.from_numpy(np.moveaxis(X, -1, 1).astype(np.float64)).requires_grad_()
    y = layer(x)
    (y * torch.from_numpy(np.moveaxis(WEIGHT, -1, 1))).sum().backward()
    gradients = layer.bias.grad.numpy(), layer.weight.grad.numpy(), last(x.grad)
    return last(y), gradients, layer.running_mean.numpy(), layer.running_var.numpy()


@pytest.mark.parametrize("devices", [1, 8])
@pytest.mark.parametrize("train", [True, False])
def test_numbers_statistics_and_gradients(cpu_devices, train, devices):
    def total(params, x, weight):
        y, new = BatchNorm().apply({"params": params, "batch_stats": STATS}, x, train, mutable="batch_stats")
        return (y * weight).sum(), (y, new["batch_stats"])

    mesh = make_mesh(MeshConfig(data=devices), cpu_devices[:devices])
    with context(mesh):
        batch = global_batch({"x": X, "weight": WEIGHT}, mesh)
        assert len(batch["x"].sharding.device_set) == devices
        (_, (y, new)), gradients = jax.jit(jax.value_and_grad(total, (0, 1), has_aux=True))(PARAMS, batch["x"], batch["weight"])
    expected, their_gradients, mean, var = reference(train)
    np.testing.assert_allclose(y, expected, atol=2e-5)
    np.testing.assert_allclose(new["mean"], mean, rtol=1e-6)
    np.testing.assert_allclose(new["var"], var, rtol=1e-5)
    for one, two in zip(jax.tree.leaves(gradients), their_gradients, strict=True):
        np.testing.assert_allclose(one, two, atol=2e-5 * np.abs(two).max())


def test_statistics_stay_where_they_are_not_mutable_and_when_parameters_are_made():
    layer = BatchNorm()
    variables = layer.init(jax.random.key(0), X, True)
    np.testing.assert_array_equal(variables["batch_stats"]["mean"], np.zeros(6))
    np.testing.assert_array_equal(variables["batch_stats"]["var"], np.ones(6))
    fixed = layer.apply(variables, X, True)
    moving, _ = layer.apply(variables, X, True, mutable="batch_stats")
    np.testing.assert_array_equal(fixed, moving)
    np.testing.assert_allclose(fixed.mean((0, 1, 2)), np.zeros(6), atol=1e-4)
    assert set(BatchNorm(affine=False).init(jax.random.key(0), X, False)) == {"batch_stats"}


def test_one_value_has_no_variance():
    variables = jax.eval_shape(lambda: BatchNorm().init(jax.random.key(0), X[:1, :1, :1], False))
    assert variables["params"]["scale"].value.shape == (6,)
    with pytest.raises(ConfigError, match=r"shape \(1, 1, 1, 6\) has one value of each feature.*use larger batches or images"):
        BatchNorm().init(jax.random.key(0), X[:1, :1, :1], True)


def test_half_precision_keeps_its_statistics_whole():
    """Means in bfloat16 would be off by 0.1 at 50."""
    x = jnp.asarray(X, jnp.bfloat16)
    layer = BatchNorm(dtype=jnp.bfloat16, momentum=1.0)
    y, new = layer.apply(layer.init(jax.random.key(0), x, False), x, True, mutable="batch_stats")
    assert y.dtype == jnp.bfloat16 and new["batch_stats"]["mean"].dtype == jnp.float32
    np.testing.assert_allclose(new["batch_stats"]["mean"], np.asarray(x, np.float64).mean((0, 1, 2)), rtol=1e-5)


def test_each_class_has_its_scale_and_bias():
    x = X - np.linspace(-5, 50, 6, dtype=np.float32)  # the statistics are new, and nothing is known of a mean far from zero
    classes = np.array([0, 2, 1, 2, 0, 0, 1, 2])
    layer = ConditionalBatchNorm(3)
    variables = layer.init(jax.random.key(0), x, classes, True)
    np.testing.assert_array_equal(variables["params"]["scale"]["embedding"].value, np.ones((3, 6)))
    np.testing.assert_array_equal(variables["params"]["bias"]["embedding"].value, np.zeros((3, 6)))
    scale, bias = DRAW.normal(size=(2, 3, 6)).astype(np.float32)
    variables = variables | {"params": {"scale": {"embedding": scale}, "bias": {"embedding": bias}}}
    found, new = layer.apply(variables, x, classes, True, mutable="batch_stats")
    theirs = torch.nn.BatchNorm2d(6, affine=False).double()
    plain = last(theirs(torch.from_numpy(np.moveaxis(x, -1, 1)).double()))
    expected = plain * scale[classes][:, None, None] + bias[classes][:, None, None]
    np.testing.assert_allclose(found, expected, atol=5e-6)
    np.testing.assert_allclose(new["batch_stats"]["norm"]["mean"], theirs.running_mean, atol=1e-6)
