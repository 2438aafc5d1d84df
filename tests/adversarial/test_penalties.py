"""Penalties on slopes, and their own gradients, against torch's double differentiation in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from genjax.adversarial import penalties

RNG = np.random.default_rng(0)
FIRST, SECOND = (RNG.standard_normal(shape) * 0.5 for shape in ((12, 9), (9,)))
REAL, FAKE = (RNG.standard_normal((5, 2, 3, 2)) for _ in range(2))


def critic(weights, x):
    return jnp.tanh(x.reshape(len(x), -1) @ weights) @ SECOND.astype(np.float32)


def torch_slopes(weights, x):
    x = x.clone().requires_grad_()
    logits = torch.tanh(x.reshape(len(x), -1) @ weights) @ torch.from_numpy(SECOND)
    (slopes,) = torch.autograd.grad(logits.sum(), x, create_graph=True)
    return slopes.reshape(len(x), -1)


def compare(ours, theirs):
    """Values, and gradients of their mean with respect to the weights."""
    values, pull = jax.vjp(ours, jnp.asarray(FIRST, jnp.float32))
    weights = torch.from_numpy(FIRST).requires_grad_()
    wanted = theirs(weights)
    np.testing.assert_allclose(values, wanted.detach(), rtol=2e-5)
    (gradient,) = pull(jnp.full(len(values), 1 / len(values)))
    wanted.mean().backward()
    np.testing.assert_allclose(gradient, weights.grad, rtol=1e-4, atol=1e-6)


def test_r1():
    real = jnp.asarray(REAL, jnp.float32)
    compare(
        lambda w: penalties.r1(lambda x: critic(w, x), real),
        lambda w: 0.5 * torch_slopes(w, torch.from_numpy(REAL)).square().sum(1),
    )


def test_r1_of_a_linear_critic_is_its_squared_norm():
    slope = jnp.arange(6.0).reshape(1, 2, 3)
    found = penalties.r1(lambda x: (x * slope).sum((1, 2)), jnp.zeros((4, 2, 3)))
    np.testing.assert_allclose(found, np.full(4, 55 / 2))


@pytest.mark.parametrize("slope", [1.0, 0.0])
def test_gradient_penalty(slope):
    key = jax.random.key(1)
    share = np.asarray(jax.random.uniform(key, (5, 1, 1, 1)), np.float64)
    between = torch.from_numpy(REAL + share * (FAKE - REAL))
    real, fake = (jnp.asarray(x, jnp.float32) for x in (REAL, FAKE))
    compare(
        lambda w: penalties.gradient_penalty(lambda x: critic(w, x), key, real, fake, slope),
        lambda w: (torch_slopes(w, between).norm(dim=1) - slope).square(),
    )


def test_no_slope_at_all_gives_finite_gradients():
    zero = jnp.zeros((12, 9))
    real, fake = (jnp.asarray(x, jnp.float32) for x in (REAL, FAKE))
    loss = lambda w: penalties.gradient_penalty(lambda x: critic(w, x), jax.random.key(0), real, fake).mean()  # noqa: E731
    value, gradient = jax.value_and_grad(loss)(zero)
    assert abs(value - 1) < 1e-5 and np.isfinite(gradient).all()


@pytest.mark.parametrize("layers", [(), (3,)])
def test_path_lengths(layers):
    """The public code's formula in torch, with the same noise."""
    key, (height, width) = jax.random.key(2), (4, 2)
    styles = RNG.standard_normal((5, *layers, 6))
    inner = int(np.prod(layers, initial=1)) * 6
    weights = RNG.standard_normal((inner, height * width * 3))
    scale = jnp.asarray(FIRST[0, 0], jnp.float32)

    def synthesize(scale, w):
        return jnp.sin(scale * w.reshape(5, -1) @ weights.astype(np.float32)).reshape(5, height, width, 3)

    noise = np.asarray(jax.random.normal(key, (5, height, width, 3)), np.float64) / np.sqrt(height * width)

    def reference(scale):
        w = torch.from_numpy(styles).requires_grad_()
        image = torch.sin(scale * w.reshape(5, -1) @ torch.from_numpy(weights)).reshape(5, height, width, 3)
        (slopes,) = torch.autograd.grad((image * torch.from_numpy(noise)).sum(), w, create_graph=True)
        return slopes.square().sum(-1).reshape(5, -1).mean(1).sqrt()

    def loss(scale):
        lengths = penalties.path_lengths(lambda w: synthesize(scale, w), jnp.asarray(styles, jnp.float32), key)
        penalty, mean = penalties.path_length_penalty(lengths, jnp.asarray(0.7), 0.01)
        return penalty.mean(), (lengths, mean)

    (value, (lengths, mean)), gradient = jax.value_and_grad(loss, has_aux=True)(scale)
    theirs = torch.tensor(FIRST[0, 0], dtype=torch.float64, requires_grad=True)
    wanted = reference(theirs)
    np.testing.assert_allclose(lengths, wanted.detach(), rtol=1e-4)
    moved = torch.tensor(0.7).double().lerp(wanted.mean(), 0.01)
    penalty = (wanted - moved).square().mean()
    penalty.backward()
    np.testing.assert_allclose([value, mean], [penalty.item(), moved.item()], rtol=1e-4)
    np.testing.assert_allclose(gradient, theirs.grad, rtol=1e-3)
