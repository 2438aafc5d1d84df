"""Schedules against their formulas, and what each optimizer does to whom."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from genjax.errors import ConfigError
from genjax.training.optimizers import OptimizerConfig, make_optimizer, make_schedule, muon_dimensions

TREE = {
    "gpt": {
        "params": {
            "token_embed": {"embedding": jnp.ones((5, 4))},
            "mlp": {"up": {"kernel": jnp.full((4, 6), 0.5), "bias": jnp.ones((6,))}},
            "norm": {"scale": jnp.ones((4,))},
        }
    }
}
NAMES = {
    "gpt/params/token_embed/embedding": ("vocab", "embed"),
    "gpt/params/mlp/up/kernel": ("embed", "mlp"),
    "gpt/params/mlp/up/bias": ("mlp",),
    "gpt/params/norm/scale": ("norm",),
}


def values(total=100, **settings):
    schedule = make_schedule(OptimizerConfig(peak_lr=1.0, **settings), total)
    return np.array([float(schedule(n)) for n in range(total + 1)])


def test_warmup_cosine():
    lr = values(schedule="warmup_cosine", warmup_steps=10, end_lr=0.1)
    np.testing.assert_allclose(lr[:10], np.arange(1, 11) / 10, rtol=1e-6)
    steps = np.arange(0, 91)
    np.testing.assert_allclose(lr[10:], 0.1 + 0.9 * 0.5 * (1 + np.cos(np.pi * steps / 90)), rtol=1e-5)


def test_warmup_stable_decay():
    lr = values(schedule="warmup_stable_decay", warmup_steps=10, decay_fraction=0.2)
    np.testing.assert_allclose(lr[10:80], 1.0)
    np.testing.assert_allclose(lr[80:], np.linspace(1, 0, 21), atol=1e-6)


def test_inverse_sqrt_goes_on_from_the_warmup():
    lr = values(schedule="inverse_sqrt", warmup_steps=25)
    np.testing.assert_allclose(lr[25:], np.sqrt(25 / np.arange(25, 101)), rtol=1e-6)
    assert lr.max() == pytest.approx(1.0)


def test_linear_and_constant():
    np.testing.assert_allclose(values(schedule="linear", warmup_steps=0), np.linspace(1, 0, 101), atol=1e-6)
    np.testing.assert_allclose(values(schedule="constant"), 1.0)


def test_a_warmup_longer_than_the_run_is_an_error():
    with pytest.raises(ConfigError, match="warmup_steps 200 must be under the schedule's 100 steps"):
        make_schedule(OptimizerConfig(warmup_steps=200), 100)


@pytest.mark.parametrize("name", ["adamw", "adafactor", "lion", "muon"])
def test_weight_decay_alone_shrinks_kernels_and_spares_biases_and_norms(name):
    config = OptimizerConfig(name=name, schedule="constant", peak_lr=0.1, weight_decay=0.5)
    transform, _ = make_optimizer(config, 10, NAMES)
    zero = {"gpt": {"params": _zeros(TREE["gpt"]["params"])}}
    updates, _ = transform.update(zero, transform.init(TREE), TREE)
    new = optax.apply_updates(TREE, updates)["gpt"]["params"]
    np.testing.assert_allclose(new["mlp"]["up"]["kernel"], 0.5 * (1 - 0.1 * 0.5), rtol=1e-6)
    np.testing.assert_array_equal(new["mlp"]["up"]["bias"], 1.0)
    np.testing.assert_array_equal(new["norm"]["scale"], 1.0)


@pytest.mark.parametrize("name", ["adamw", "adam", "adafactor", "lion", "muon", "sgd"])
def test_every_optimizer_goes_downhill(name):
    transform, _ = make_optimizer(OptimizerConfig(name=name, schedule="constant", peak_lr=0.02), 10, NAMES)
    loss = lambda tree: sum(jnp.sum((x - 0.2) ** 2) for x in _leaves(tree))  # noqa: E731
    tree, state = TREE, transform.init(TREE)
    before = float(loss(tree))
    for _ in range(10):
        updates, state = transform.update(jax.grad(loss)(tree), state, tree)
        tree = optax.apply_updates(tree, updates)
    assert float(loss(tree)) < 0.9 * before


def test_muon_orthogonalizes_kernels_and_leaves_the_rest_to_adam():
    transform, _ = make_optimizer(OptimizerConfig(name="muon", schedule="constant", peak_lr=1.0), 10, NAMES)
    rng = np.random.default_rng(0)
    gradients = {"gpt": {"params": _map(lambda x: jnp.asarray(rng.normal(size=x.shape), jnp.float32), TREE["gpt"]["params"])}}
    updates, _ = transform.update(gradients, transform.init(TREE), TREE)
    singular = np.linalg.svd(np.asarray(updates["gpt"]["params"]["mlp"]["up"]["kernel"]), compute_uv=False)
    assert singular.max() / singular.min() < 2.0  # Newton-Schulz brings them near one another, not to equality
    # The first update of Adam with Nesterov momentum: the gradient's sign, times 1 + b1 (1 - b1) / (1 - b1^2).
    expected = 1 + 0.9 * 0.1 / (1 - 0.9**2)
    np.testing.assert_allclose(np.abs(updates["gpt"]["params"]["token_embed"]["embedding"]), expected, rtol=1e-5)


def test_muon_reads_inputs_and_outputs_from_the_axis_names():
    assert muon_dimensions(("embed", "heads", "head_dim")) == ((0,), (1, 2))
    assert muon_dimensions(("layers", "heads", "head_dim", "embed")) == ((1, 2), (3,))
    assert muon_dimensions(("mlp", "embed")) == ((0,), (1,))
    assert muon_dimensions(("vocab", "embed")) is None
    assert muon_dimensions(("layers", "norm")) is None


def _map(function, tree):
    return jax.tree.map(function, tree)


def _zeros(tree):
    return _map(jnp.zeros_like, tree)


def _leaves(tree):
    return jax.tree.leaves(tree)
