"""Finite scalars, signs, Gumbel noise and Gaussians against formulas in float64."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution

from genjax.errors import ConfigError
from genjax.quantization.finite_scalar import FiniteScalarConfig, FiniteScalarQuantizer
from genjax.quantization.gaussian import GaussianBottleneck, GaussianConfig
from genjax.quantization.gumbel import GumbelConfig, GumbelQuantizer, relaxed
from genjax.quantization.kinds import KINDS, make_bottleneck, name_of, read_bottleneck
from genjax.quantization.lookup_free import LookupFreeConfig, LookupFreeQuantizer

RANDOM = np.random.default_rng(0)


def test_finite_scalars_are_the_papers():
    """The JAX of appendix A.1 of Mentzer et al., 2023, in float64."""
    levels = (8, 5, 4, 3)
    x = 3 * RANDOM.standard_normal((500, 4))
    counts, epsilon = np.array(levels), 1e-3
    half = (counts - 1) * (1 - epsilon) / 2
    offset = np.where(counts % 2 == 1, 0.0, 0.5)
    bounded = np.tanh(x + np.tan(offset / half)) * half - offset
    steps = np.round(bounded) + counts // 2
    basis = np.concatenate([[1], np.cumprod(counts[:-1])])
    found = FiniteScalarQuantizer(FiniteScalarConfig(levels)).apply({}, jnp.asarray(x, jnp.float32))
    np.testing.assert_array_equal(found.codes, (steps * basis).sum(-1))
    np.testing.assert_allclose(found.values, np.round(bounded) / (counts // 2), atol=1e-6)


def test_finite_scalar_codes_are_numbered_through():
    config = FiniteScalarConfig((5, 4, 3))
    codes = jnp.arange(config.codes)
    values = FiniteScalarQuantizer(config).apply({}, codes, method="lookup")
    assert len(np.unique(np.asarray(values), axis=0)) == config.codes == 60
    # Through the inverse of the bound, every value comes back to its code.
    half = (np.array(config.levels) - 1) * (1 - 1e-3) / 2
    offset = np.where(np.array(config.levels) % 2, 0.0, 0.5)
    inner = np.arctanh(np.clip((np.asarray(values) * (np.array(config.levels) // 2) + offset) / half, -1 + 1e-6, 1 - 1e-6))
    found = FiniteScalarQuantizer(config).apply({}, jnp.asarray(inner - np.tan(offset / half), jnp.float32))
    np.testing.assert_array_equal(found.codes, codes)


def test_the_gradient_of_finite_scalars_is_that_of_their_bound():
    config = FiniteScalarConfig((8, 5))
    x = RANDOM.standard_normal((20, 2)).astype(np.float32)
    module = FiniteScalarQuantizer(config)
    found = jax.grad(lambda x: module.apply({}, x).values.sum())(x)

    def bounded(x):
        levels = np.array(config.levels)
        half, offset = (levels - 1) * (1 - 1e-3) / 2, np.where(levels % 2, 0.0, 0.5)
        return (np.tanh(x + np.tan(offset / half)) * half - offset) / (levels // 2)

    step = 1e-5
    np.testing.assert_allclose(found, (bounded(x + np.float64(step)) - bounded(x - np.float64(step))) / (2 * step), atol=1e-4)


def test_signs_and_their_numbers():
    config = LookupFreeConfig(bits=5)
    x = RANDOM.standard_normal((7, 3, 5)).astype(np.float32)
    module = LookupFreeQuantizer(config)
    found = module.apply({}, x)
    np.testing.assert_array_equal(found.values, np.where(x > 0, 1, -1))
    np.testing.assert_array_equal(found.codes, ((x > 0) * 2 ** np.arange(5)).sum(-1))
    np.testing.assert_array_equal(module.apply({}, found.codes, method="lookup"), found.values)


@pytest.mark.parametrize("group", [4, 9])
def test_entropies_over_all_codes(group):
    """Equation 6 of Yu et al., 2024, with the likelihood of every code written out; groups smaller than that add up."""
    bits, sharpness = 4, 0.7
    x = RANDOM.standard_normal((50, bits))
    codes = np.array(list(itertools.product((-1, 1), repeat=bits)), float)
    logits = -sharpness * ((x[:, None] - codes) ** 2).sum(-1)
    shares = np.exp(logits - logits.max(1, keepdims=True))
    shares /= shares.sum(1, keepdims=True)
    each, mean = -(shares * np.log(shares)).sum(1).mean(), shares.mean(0)
    config = LookupFreeConfig(bits, sharpness, diversity=0.5, group=group)
    found = LookupFreeQuantizer(config).apply({}, jnp.asarray(x, jnp.float32)).losses
    np.testing.assert_allclose(found["entropy"], each + 0.5 * (mean * np.log(mean)).sum(), rtol=1e-5)
    np.testing.assert_allclose(found["commitment"], ((x - np.where(x > 0, 1, -1)) ** 2).mean(), rtol=1e-5)


def test_groups_of_bits_bound_the_entropy():
    x = jnp.asarray(RANDOM.standard_normal((50, 6)), jnp.float32)
    exact, parts = (LookupFreeQuantizer(LookupFreeConfig(6, group=group)).apply({}, x).losses["entropy"] for group in (6, 2))
    assert parts <= exact  # entropies of parts add up to no less than the joint one, which is subtracted


def test_the_relaxation_is_torchs():
    logits = RANDOM.standard_normal((6, 9)).astype(np.float32)
    noise = RANDOM.gumbel(size=(6, 9)).astype(np.float32)
    expected = torch.softmax((torch.from_numpy(logits).double() + torch.from_numpy(noise).double()) / 0.3, -1)
    np.testing.assert_allclose(relaxed(noise, logits, 0.3), expected, rtol=1e-5, atol=1e-7)


def test_a_relaxed_choice_goes_towards_one_code_as_it_cools():
    """Its mean over draws is that of the softmax at any temperature's end, and its gradient that of the mixture."""
    config = GumbelConfig(5, 2)
    module, logits = GumbelQuantizer(config), RANDOM.standard_normal((1, 5)).astype(np.float32)
    x = np.broadcast_to(logits, (4000, 5))
    table = RANDOM.standard_normal((5, 2)).astype(np.float32)
    run = lambda temperature: module.apply(  # noqa: E731
        {"params": {"embedding": table}}, x, True, temperature, rngs={"bottleneck": jax.random.key(1)}
    )
    cold = np.asarray(run(1e-3).values)
    near = np.abs(cold[:, None] - table).max(-1).min(1)
    assert (near < 1e-3).mean() > 0.98
    shares = np.exp(logits) / np.exp(logits).sum()
    np.testing.assert_allclose(cold.mean(0), (shares @ table)[0], atol=0.06)  # three deviations of 4,000 draws
    told = module.apply({"params": {"embedding": table}}, x)
    np.testing.assert_array_equal(told.codes, logits.argmax())
    np.testing.assert_allclose(told.losses["kl"], (shares * np.log(5 * shares)).sum(), rtol=1e-5)


@pytest.mark.parametrize(("hard", "gain"), [(False, 1.0), (True, 1.0), (False, 3.0)])
def test_gradients_of_a_relaxed_choice_by_differences(hard, gain):
    """Also where one code is given, the gradient is that of the mixture."""
    logits = RANDOM.standard_normal((2, 4)).astype(np.float32)
    table, weights = RANDOM.standard_normal((4, 3)), RANDOM.standard_normal((2, 3))
    key = jax.random.key(0)
    module = GumbelQuantizer(GumbelConfig(4, 3, hard, gain))

    def run(logits):
        found = module.apply(
            {"params": {"embedding": jnp.asarray(table, jnp.float32)}}, logits, True, 0.5, rngs={"bottleneck": key}
        )
        return (found.values * weights).sum(), found.values

    gradient, values = jax.grad(run, has_aux=True)(logits)
    if hard:
        assert np.abs(np.asarray(values)[:, None] - table).max(-1).min(1).max() < 1e-5
    # The noise of the module's own draw, from its key.
    noise = np.asarray(
        module.apply({}, (2, 4), rngs={"bottleneck": key}, method=lambda m, s: jax.random.gumbel(m.make_rng("bottleneck"), s))
    )

    def mixture(logits):
        scores = (gain * logits + noise) / 0.5
        shares = np.exp(scores - scores.max(1, keepdims=True))
        return (shares / shares.sum(1, keepdims=True) @ table * weights).sum()

    expected, step = np.zeros((2, 4)), 1e-5
    for place in itertools.product(range(2), range(4)):
        change = np.zeros((2, 4))
        change[place] = step
        expected[place] = (mixture(logits + change) - mixture(logits - change)) / (2 * step)
    np.testing.assert_allclose(gradient, expected, atol=1e-4)


def test_gaussians_are_those_of_diffusers():
    moments = 2 * RANDOM.standard_normal((3, 4, 5, 6)).astype(np.float32)
    theirs = DiagonalGaussianDistribution(torch.from_numpy(np.moveaxis(moments, -1, 1).copy()))
    module = GaussianBottleneck(GaussianConfig(3))
    found = module.apply({}, moments)
    np.testing.assert_array_equal(np.moveaxis(np.asarray(found.values), -1, 1), theirs.mode())
    np.testing.assert_allclose(found.losses["kl"], theirs.kl().mean(), rtol=1e-5)
    many = np.broadcast_to(moments[:1], (4000, 4, 5, 6))
    drawn = np.asarray(module.apply({}, many, True, rngs={"bottleneck": jax.random.key(0)}).values)
    deviation = np.moveaxis(theirs.std[0].numpy(), 0, -1)
    np.testing.assert_allclose(drawn.std(0), deviation, rtol=0.06)
    assert np.abs((drawn.mean(0) - moments[0, ..., :3]) / deviation).max() < 4.5 / 4000**0.5


def test_bottlenecks_by_name():
    for name, (kind, _) in KINDS.items():
        config = read_bottleneck({"name": name}, "config.task.model.bottleneck")
        assert type(config) is kind and name_of(config) == name
        x = jnp.asarray(RANDOM.standard_normal((2, 3, config.inputs)), jnp.float32)
        variables = make_bottleneck(config).init(jax.random.key(0), x)
        found = make_bottleneck(config).apply(variables, x)
        assert found.values.shape == (2, 3, config.outputs)
        assert (found.codes is None) == (config.codes == 0)
    with pytest.raises(ConfigError, match="'vectr' is not known; did you mean 'vector'"):
        read_bottleneck({"name": "vectr"}, "config.task.model.bottleneck")
    with pytest.raises(ConfigError, match="config.task.model.bottleneck.code"):
        read_bottleneck({"code": 3}, "config.task.model.bottleneck")
