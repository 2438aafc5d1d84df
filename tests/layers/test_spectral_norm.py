"""Spectral norms against torch.nn.utils.parametrizations.spectral_norm: results, gradients, and the vectors from call to call."""

import jax
import numpy as np
import pytest
import torch
from torch.nn.utils.parametrizations import spectral_norm

from genjax.layers.spectral_norm import SpectralConv, SpectralEmbedding, SpectralProjection

IDS = np.array([[0, 3], [4, 4], [1, 3]])
DRAW = np.random.default_rng(0)


def last(value):
    return np.moveaxis(value.detach().numpy(), 1, -1)


def case(name):
    """Their layer and its input; our layer, its input, its parameters from their weight and bias, and how results compare."""
    torch.manual_seed(0)
    plain = lambda value: value.detach().numpy()  # noqa: E731
    if name == "conv":
        theirs, x = torch.nn.Conv2d(3, 5, 4, 2, 1), torch.randn(2, 3, 6, 6)
        return theirs, x, SpectralConv(5, 4, 2, (1, 1)), last(x), lambda w: plain(w).transpose(2, 3, 1, 0), last
    if name == "projection":
        theirs, x = torch.nn.Linear(6, 4), torch.randn(3, 6)
        return theirs, x, SpectralProjection((4,), ("embed", "mlp")), plain(x), lambda w: plain(w).T, plain
    return torch.nn.Embedding(5, 4), torch.from_numpy(IDS), SpectralEmbedding(5, 4, None), IDS, plain, plain


def vectors(theirs):
    (norm,) = theirs.parametrizations.weight
    return {"u": norm._u.numpy().copy(), "v": norm._v.numpy().copy()}


@pytest.mark.parametrize("name", ["conv", "projection", "embedding"])
def test_calls_in_a_row(name):
    theirs, x, ours, our_x, turn, compare = case(name)
    theirs = spectral_norm(theirs)
    key = "embedding" if name == "embedding" else "kernel"
    original = theirs.parametrizations.weight.original
    with torch.no_grad():
        original.mul_(torch.rand_like(original) * 3)  # what u and v began with is out of date
    params = {key: turn(original)} | ({} if name == "embedding" else {"bias": theirs.bias.detach().numpy()})
    spectral = {"norm": vectors(theirs)}

    @jax.jit
    def step(params, spectral, weight):
        def total(params):
            y, new = ours.apply({"params": params, "spectral": spectral}, our_x, train=True, mutable="spectral")
            return (y * weight).sum(), (y, new["spectral"])

        return jax.value_and_grad(total, has_aux=True)(params)

    for _ in range(2):
        y = theirs(x)
        weight = torch.randn(y.shape)
        original.grad = None
        (y * weight).sum().backward()
        (_, (found, spectral)), gradients = step(params, spectral, compare(weight))
        np.testing.assert_allclose(found, compare(y), atol=2e-6)
        np.testing.assert_allclose(gradients[key], turn(original.grad), atol=1e-5 * original.grad.abs().max())
        for which, value in vectors(theirs).items():
            np.testing.assert_allclose(spectral["norm"][which], value, atol=2e-6)
    theirs.eval()
    found, kept = ours.apply({"params": params, "spectral": spectral}, our_x, train=False, mutable="spectral")
    np.testing.assert_allclose(found, compare(theirs(x)), atol=2e-6)
    jax.tree.map(np.testing.assert_array_equal, kept["spectral"], spectral)


def test_the_first_vectors_find_the_largest_singular_value():
    layer = SpectralConv(8, 3)
    x = DRAW.normal(size=(1, 4, 4, 5)).astype(np.float32)
    variables = layer.init(jax.random.key(0), x, train=True)
    kernel = np.asarray(variables["params"]["kernel"].value, np.float64)
    u, v = (np.asarray(variables["spectral"]["norm"][name], np.float64) for name in "uv")
    matrix = kernel.transpose(3, 2, 0, 1).reshape(8, -1)
    largest = np.linalg.svd(matrix)[1][0]
    assert 0.97 * largest < u @ matrix @ v < 1.0001 * largest
    np.testing.assert_allclose(np.linalg.norm([u, v[:8]][0]), 1, atol=1e-6)
    assert variables["params"]["kernel"].names == (None, None, "embed", "mlp")


def test_a_call_that_may_not_keep_its_step_gives_the_same_result():
    layer = SpectralProjection((4,), ("embed", "mlp"))
    x = DRAW.normal(size=(3, 6)).astype(np.float32)
    variables = layer.init(jax.random.key(0), x, train=False)
    kept, new = layer.apply(variables, x, train=True, mutable="spectral")
    np.testing.assert_array_equal(layer.apply(variables, x, train=True), kept)
    assert np.abs(new["spectral"]["norm"]["u"] - variables["spectral"]["norm"]["u"]).max() > 0
