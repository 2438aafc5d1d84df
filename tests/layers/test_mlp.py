"""The position-wise network against its formula in float64, for every activation."""

import math

import jax
import numpy as np
import pytest
from flax import linen as nn

from genjax.errors import ConfigError
from genjax.layers.mlp import ACTIVATIONS, MLP

erf = np.vectorize(math.erf)
PLAIN = {
    "gelu_tanh": lambda x: 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
    "gelu": lambda x: 0.5 * x * (1 + erf(x / np.sqrt(2))),
    "relu": lambda x: np.maximum(x, 0),
    "silu": lambda x: x / (1 + np.exp(-x)),
    "quick_gelu": lambda x: x / (1 + np.exp(-1.702 * x)),
}


def test_every_activation_has_a_formula_here():
    assert set(ACTIVATIONS) == set(PLAIN)


@pytest.mark.parametrize("name", PLAIN)
def test_activations_and_slopes(name):
    x = np.linspace(-6, 6, 100)  # the kink of relu lies between two points
    np.testing.assert_allclose(ACTIVATIONS[name](np.float32(x)), PLAIN[name](x), atol=1e-6)
    slope = jax.vmap(jax.grad(ACTIVATIONS[name]))(np.float32(x))
    np.testing.assert_allclose(slope, (PLAIN[name](x + 1e-5) - PLAIN[name](x - 1e-5)) / 2e-5, atol=1e-5)  # 1 - tanh² near 1


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("use_bias", [False, True])
@pytest.mark.parametrize("activation", PLAIN)
def test_the_formula(activation, gated, use_bias):
    module = MLP(7, activation=activation, gated=gated, use_bias=use_bias)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 3, 5))
    params = nn.unbox(module.init(jax.random.key(0), np.float32(x)))["params"]
    assert set(params) == ({"up", "gate", "down"} if gated else {"up", "down"})
    params = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape), params)

    def project(name, x):
        return x @ params[name]["kernel"] + params[name].get("bias", 0)

    hidden = PLAIN[activation](project("gate" if gated else "up", x)) * (project("up", x) if gated else 1)
    found = module.apply({"params": jax.tree.map(np.float32, params)}, np.float32(x))
    np.testing.assert_allclose(found, project("down", hidden), rtol=1e-5, atol=2e-5)


def test_an_unknown_activation():
    with pytest.raises(ConfigError, match="activation 'geluu' is not known; did you mean 'gelu'"):
        MLP(7, activation="geluu").init(jax.random.key(0), np.zeros((1, 1, 4), np.float32))
