"""ConvTranspose against torch's, with gradients; and its first values."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from genjax.layers.conv_transpose import ConvTranspose

CASES = [  # axes, size, stride, padding, output padding; places, where they are not 4x3x2
    *((2, 4, 1, 0, 0), (2, 4, 2, 1, 0), (2, 3, 2, 1, 1), (2, 2, 2, 0, 0), (2, 5, 3, 2, 2)),
    *((1, 16, 8, 4, 0), (1, 3, 2, 0, 1), (3, 3, 2, 1, 0), (2, 4, 1, 0, 0, (1, 1))),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_numbers_and_gradients(case):
    axes, size, stride, padding, output_padding, *places = case
    torch.manual_seed(0)
    theirs = getattr(torch.nn, f"ConvTranspose{axes}d")(3, 5, size, stride, padding, output_padding)
    x = torch.randn(2, 3, *(places[0] if places else (4, 3, 2)[:axes]), requires_grad=True)
    weight = torch.randn(theirs(x).shape)
    y = theirs(x)
    (y * weight).sum().backward()
    last = lambda value: np.moveaxis(value.detach().numpy(), 1, -1)  # noqa: E731
    # Theirs is (channels, features, *size).
    params = {"kernel": np.moveaxis(theirs.weight.detach().numpy(), (0, 1), (-2, -1)), "bias": theirs.bias.detach().numpy()}
    layer = ConvTranspose(5, size, stride, padding, output_padding)

    def total(params, x):
        y = layer.apply({"params": params}, x)
        return (y * last(weight)).sum(), y

    (_, found), gradients = jax.jit(jax.value_and_grad(total, (0, 1), has_aux=True))(params, last(x))
    np.testing.assert_allclose(found, last(y), atol=2e-6)
    expected = {"kernel": np.moveaxis(theirs.weight.grad.numpy(), (0, 1), (-2, -1)), "bias": theirs.bias.grad.numpy()}
    for one, two in zip(jax.tree.leaves(gradients), jax.tree.leaves((expected, last(x.grad))), strict=True):
        np.testing.assert_allclose(one, two, atol=1e-5 * np.abs(two).max())


def test_gradients_of_gradients():
    """As a penalty on the length of a gradient asks for them."""
    torch.manual_seed(0)
    theirs = torch.nn.ConvTranspose2d(3, 2, 4, 2, 1)
    x = torch.randn(2, 3, 4, 3, requires_grad=True)
    (slope,) = torch.autograd.grad(theirs(x).tanh().sum(), x, create_graph=True)
    slope.square().sum().backward()
    params = {"kernel": theirs.weight.detach().numpy().transpose(2, 3, 0, 1), "bias": theirs.bias.detach().numpy()}
    moved = x.detach().numpy().transpose(0, 2, 3, 1)

    def penalty(params):
        slope = jax.grad(lambda x: jnp.tanh(ConvTranspose(2).apply({"params": params}, x)).sum())(moved)
        return jnp.square(slope).sum()

    found = jax.jit(jax.grad(penalty))(params)
    np.testing.assert_allclose(found["kernel"], theirs.weight.grad.numpy().transpose(2, 3, 0, 1), atol=1e-5)
    np.testing.assert_allclose(found["bias"], theirs.bias.grad, atol=1e-5)


def test_the_first_values_spread_as_torchs():
    """Uniform within 1 / sqrt(features * places of the kernel)."""
    theirs = torch.nn.ConvTranspose2d(64, 32, 4).weight.detach().numpy()
    ours = ConvTranspose(32).init(jax.random.key(0), jnp.zeros((1, 2, 2, 64)))["params"]["kernel"]
    assert ours.names == (None, None, "embed", "mlp")
    for value in (theirs, ours.value):
        assert 0.99 * 512**-0.5 < np.abs(value).max() <= 512**-0.5
        np.testing.assert_allclose(np.std(value), (3 * 512) ** -0.5, rtol=0.02)
