"""Losses: what an error counts, the variational bound, and the likelihood of a density that is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from genjax.diffusion import grids, losses
from genjax.diffusion.likelihood import bits_per_dimension, log_likelihood
from genjax.diffusion.predictions import KINDS, predict
from genjax.diffusion.schedules import EDM, DiscreteSchedule, VariancePreserving, make_betas
from genjax.errors import ConfigError
from tests.diffusion.mixtures import Mixture

COUNTS = {
    "epsilon": lambda snr: snr,
    "sample": lambda snr: 1,
    "v": lambda snr: snr + 1,
    "min_snr": lambda snr: min(snr, 5.0),
    "soft_min_snr": lambda snr: 5.0 * snr / (snr + 5.0),
    "edm": lambda snr: snr + 4.0,
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("weighting", COUNTS)
def test_weights_are_of_the_clean_error(kind, weighting):
    """Whatever the network speaks: the weighed error of its output is the counted error of its clean sample."""
    generator = np.random.default_rng(0)
    x, one, other = (generator.standard_normal((1, 50)).astype(np.float32) for _ in range(3))
    for ratio in (0.1, 1.0, 8.0):
        alpha, sigma = np.asarray([1 / np.hypot(1, ratio)]), np.asarray([ratio / np.hypot(1, ratio)])
        weight = losses.loss_weight(kind, weighting, alpha, sigma)
        clean = [np.asarray(predict(kind, output, x, alpha, sigma).clean, np.float64) for output in (one, other)]
        expected = COUNTS[weighting](ratio**-2) * ((clean[0] - clean[1]) ** 2).sum()
        np.testing.assert_allclose(weight[0] * ((one - other) ** 2).sum(), expected, rtol=2e-3)


def test_simple_and_unknown_weights():
    ones = jnp.ones(3)
    assert (losses.loss_weight("epsilon", "simple", ones, 2 * ones) == 1).all()
    assert (losses.loss_weight("epsilon", "epsilon", ones, 2 * ones) == 1).all()
    with pytest.raises(ConfigError, match="unknown loss weighting 'snr'; use one of simple"):
        losses.loss_weight("epsilon", "snr", ones, ones)


def test_levels_are_drawn_as_said():
    key, count = jax.random.key(0), 40_000
    shares = jax.random.uniform(key, (count,))
    logs = np.log(losses.log_normal(shares))
    assert abs(logs.mean() + 1.2) < 0.03 and abs(logs.std() - 1.2) < 0.03
    times = np.asarray(losses.logit_normal(shares, 0.5, 0.8))
    assert abs(stats.logistic.ppf(times).mean() - 0.5) < 0.02 and 0 < times.min() and times.max() < 1
    even = np.asarray(losses.draw_even(key, 64))
    assert sorted((even * 64).astype(int)) == list(range(64)) and (np.diff(even) < 0).any()


def test_noise_offset():
    noise = np.asarray(losses.draw_noise(jax.random.key(0), (4000, 6, 6, 3), 0.5))
    means = noise.mean((1, 2))
    assert abs(means.var() - (0.25 + 1 / 36)) < 0.02 and abs(noise.var() - 1.25) < 0.02
    assert abs(np.corrcoef(means.T)[0, 1]) < 0.05
    assert losses.draw_noise(jax.random.key(0), (10_000, 6, 3)).var() == pytest.approx(1.0, abs=0.02)


def test_an_uncertain_loss_is_least_where_its_variance_is_right():
    grid = jnp.linspace(-3, 3, 601)
    values = jax.vmap(lambda u: losses.uncertain(jnp.asarray([0.4]), u[None])[0])(grid)
    assert grid[values.argmin()] == pytest.approx(np.log(0.4), abs=0.02)


def test_divergence_of_gaussians():
    generator = np.random.default_rng(0)
    mean1, log1, mean2, log2 = generator.standard_normal(4)
    x = np.linspace(-30, 30, 200_001)
    first, second = stats.norm(mean1, np.exp(log1 / 2)), stats.norm(mean2, np.exp(log2 / 2))
    expected = np.trapezoid(first.pdf(x) * (first.logpdf(x) - second.logpdf(x)), x)
    assert losses.gaussian_kl(mean1, log1, mean2, log2) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("mean, std", [(0.3, 0.5), (-0.97, 0.02), (2.0, 0.1), (0.0, 0.002)])
def test_steps_of_a_gaussian(mean, std):
    """The 256 probabilities sum to 1, and each is that of float64, far into the tails."""
    steps = np.linspace(-1, 1, 256)
    found = np.asarray(losses.discretized_log_likelihood(steps.astype(np.float32), np.float32(mean), np.float32(np.log(std))))
    assert np.exp(found.astype(np.float64)).sum() == pytest.approx(1, abs=2e-3)
    low, high = np.append(-np.inf, steps[1:] - 1 / 255), np.append(steps[:-1] + 1 / 255, np.inf)
    # On the side where both tails are small.
    left = stats.norm.logcdf(np.stack([low, high]), mean, std)
    right = stats.norm.logsf(np.stack([high, low]), mean, std)
    near, far = np.where(low > mean, right[1], left[1]), np.where(low > mean, right[0], left[0])
    expected = near + np.log(-np.expm1(np.where(np.isinf(far), -np.inf, far - near)))
    close = expected > -1000
    np.testing.assert_allclose(found[close], expected[close], rtol=5e-3, atol=0.02)


def test_the_variational_bound_is_close_above_the_likelihood():
    """Of a thousand steps with the exact denoiser and the exact variance of each step; data on 256 steps in [-1, 1]."""
    mixture = Mixture(means=(-0.5, 0.3), std=0.08)
    data = mixture.draw(np.random.default_rng(0), (1, 4000))
    data = np.rint((data + 1) * 127.5).astype(np.float32) / 127.5 - 1
    schedule = DiscreteSchedule(make_betas("cosine"))
    alphas, sigmas = schedule.levels(np.arange(1000))

    def term(time):
        noise = jax.random.normal(jax.random.fold_in(jax.random.key(0), time), data.shape)
        start = jnp.asarray(alphas, jnp.float32)[time], jnp.asarray(sigmas, jnp.float32)[time]
        end = tuple(
            jnp.where(time > 0, jnp.asarray(level, jnp.float32)[time - 1], last) for level, last in ((alphas, 1.0), (sigmas, 0.0))
        )
        x = start[0] * data + start[1] * noise
        over = [tuple(level[None] for level in levels) for levels in (start, end)]
        clean, variance = mixture.moments(x, *start)
        forward = start[1] ** 2 - (start[0] / end[0] * end[1]) ** 2
        variance = forward * (end[1] / start[1]) ** 2 + (end[0] * forward / start[1] ** 2) ** 2 * variance
        return losses.variational_bound(jnp.asarray(data), x, clean, jnp.log(variance), *over)[0]

    total = jax.jit(lambda: jax.lax.map(term, jnp.arange(1000)).sum())()
    bound = float(total) + float(losses.prior_bound(data, alphas[-1], sigmas[-1])[0])
    edges = np.linspace(-1, 1, 256)
    parts = [
        w * np.diff(stats.norm.cdf(np.append(edges - 1 / 255, 1 + 1 / 255), m, 0.08))
        for w, m in zip(mixture.weights, mixture.means, strict=True)
    ]
    exact = -np.log2(np.interp(data, edges, sum(parts))).mean()
    assert exact - 0.03 < bound < exact + 0.1, (bound, exact)


def test_variances_that_are_learned_lie_between_these():
    from diffusers import DDPMScheduler

    small, large = losses.log_variance_bounds(DiscreteSchedule(make_betas("linear")))
    scheduler = DDPMScheduler(beta_schedule="linear")
    scheduler.set_timesteps(1000)
    for time in (1, 10, 500, 999):
        assert small[time] == pytest.approx(np.log(scheduler._get_variance(time, variance_type="fixed_small").item()), rel=1e-3)
        assert large[time] == pytest.approx(np.log(scheduler._get_variance(time, variance_type="fixed_large").item()), rel=1e-3)
    assert small[0] == small[1] and (small[1:] < large[1:]).all()


@pytest.mark.parametrize("schedule", [EDM(), VariancePreserving()])
@pytest.mark.parametrize("exact", [True, False])
def test_likelihood_of_a_known_density(schedule, exact):
    mixture = Mixture()
    x = mixture.draw(np.random.default_rng(0), (16, 3)).astype(np.float32)
    grid = grids.ratio_grid(schedule, grids.karras_ratios(121, 0.005, 60.0), end="last")
    first, last = grid.starts[0], grid.ends[-1]
    variance = float(np.var(mixture.draw(np.random.default_rng(1), 100_000)))
    keys = jax.random.split(jax.random.key(0), 16)
    found = jax.jit(
        lambda x: log_likelihood(
            mixture.denoise, x, grid, keys, exact=exact, prior_std=np.hypot(first.sigma, first.alpha * np.sqrt(variance))
        )
    )(x)
    expected = mixture.log_density(x, last.alpha, last.sigma).sum(1)
    # Coordinates are independent here, so the estimate of the divergence is exact too.
    np.testing.assert_allclose(found, expected, atol=0.02)
    assert bits_per_dimension(jnp.zeros(1), 3)[0] == 7  # even over [-1/2, 1/2]
