"""Guidance against its equations, and samples of what it promises."""

import jax
import jax.numpy as jnp
import numpy as np

from genjax.diffusion import grids, guidance, samplers
from genjax.diffusion.editing import keep_known, repaint, spherical
from genjax.diffusion.predictions import Prediction, noise_of
from genjax.diffusion.programs import run, starting_noise
from genjax.diffusion.schedules import EDM, VariancePreserving
from tests.diffusion.mixtures import Mixture

SHAPE = (3, 5, 5, 2)


def draw(*seeds):
    return [np.random.default_rng(seed).standard_normal(SHAPE).astype(np.float32) for seed in seeds]


def test_classifier_free():
    import torch
    from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import rescale_noise_cfg

    one, other = draw(0, 1)
    np.testing.assert_allclose(guidance.classifier_free(one, other, 1.0), one, atol=1e-6)
    np.testing.assert_allclose(guidance.classifier_free(one, other, 0.0), other, atol=1e-6)
    guided = guidance.classifier_free(one, other, 7.5)
    np.testing.assert_allclose(guided, other + 7.5 * (one - other), rtol=1e-5, atol=1e-5)
    theirs = rescale_noise_cfg(torch.from_numpy(np.array(guided)), torch.from_numpy(one), 0.7).numpy()
    ours = guidance.classifier_free(one, other, 7.5, 0.7)
    # torch divides by n - 1, on both sides of the ratio.
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
    each = guidance.classifier_free(one, other, np.asarray([1.0, 0.0, 2.0]))
    np.testing.assert_allclose(each[:2], np.stack([one[0], other[1]]), atol=1e-6)


def test_interval():
    for ratio, expected in ((0.2, 1.0), (0.3, 1.0), (0.31, 4.0), (5.0, 4.0), (5.1, 1.0)):
        assert guidance.within(jnp.asarray(4.0), jnp.asarray(ratio), 0.3, 5.0) == expected


def test_a_classifier_turns_the_whole_into_its_part():
    """Of two parts of a mixture, the posterior of one is known: guided by it with scale 1, samples are of that part alone."""
    mixture, part = Mixture(std=0.2), Mixture((1.0,), (-1.0,), 0.2)

    def denoise(x, time, alpha, sigma):
        whole = mixture.denoise(x, time, alpha, sigma)
        posterior = lambda x: (part.log_density(x, alpha, sigma) - mixture.log_density(x, alpha, sigma)).sum(1)  # noqa: E731
        return guidance.by_classifier(whole, x, posterior, 1.0, alpha, sigma)

    program = samplers.heun(grids.ratio_grid(EDM(), grids.karras_ratios(40, 0.01, 40.0)))
    keys = jax.random.split(jax.random.key(0), 8)
    found, _ = run(denoise, starting_noise(program, keys, (64,)), program, keys)
    assert abs(np.mean(found) + 1) < 0.04 and abs(np.std(found) - 0.2) < 0.03


def pairs(x, alpha, sigma):
    """The denoiser of pairs of equal coordinates, each N(0.5, 0.3^2): the known half says what the other is."""
    variance = (alpha * 0.3) ** 2 + sigma**2 / 2
    mean = x.mean(-1, keepdims=True)
    clean = jnp.broadcast_to(0.5 + alpha * 0.09 / variance * (mean - alpha * 0.5), x.shape)
    return Prediction(clean, noise_of(x, clean, alpha, sigma))


def test_what_is_known_stays_and_tells_the_rest():
    known = jnp.asarray(np.random.default_rng(0).normal(0.5, 0.3, (64, 1)), jnp.float32)
    known = jnp.concatenate([known, jnp.zeros_like(known)], axis=1)
    mask = jnp.asarray([[1.0, 0.0]])
    keys = jax.random.split(jax.random.key(0), 64)
    grid = grids.ratio_grid(VariancePreserving(), grids.karras_ratios(40, 0.01, 100.0))
    errors = []
    for program in (samplers.ddpm(grid), repaint(grid, 1.0, 5, 6)):
        start = starting_noise(program, keys, (2,))
        found, _ = run(
            lambda x, time, alpha, sigma: pairs(x, alpha, sigma), start, program, keys, project=keep_known(known, mask)
        )
        np.testing.assert_array_equal(found[:, 0], known[:, 0])
        errors.append(float(jnp.abs(found[:, 1] - known[:, 0]).mean()))
    assert errors[1] < 0.05 and errors[0] < 0.3, errors


def test_resampling_takes_the_steps_of_the_paper():
    """Its algorithm counts the timesteps from the last to -1, where a falling one is a question to the network."""
    steps, length, samples = 20, 4, 3
    jumps = {j: samples - 1 for j in range(0, steps - length, length)}
    times, time = [], steps
    while time >= 1:
        time -= 1
        times.append(time)
        if jumps.get(time, 0) > 0:
            jumps[time] -= 1
            for _ in range(length):
                time += 1
                times.append(time)
    times.append(-1)
    expected = [before for before, after in zip(times[:-1], times[1:], strict=True) if after < before]
    levels = grids.time_grid(VariancePreserving(), np.linspace(1, 0, steps + 1))
    program = repaint(levels, 1.0, length, samples)
    told = np.asarray(program.times[: int(program.evaluations)])
    np.testing.assert_allclose(told, [levels.starts[steps - 1 - time].time for time in expected], rtol=1e-6)
    scale, added = program.renoise[: int(program.evaluations)].T
    back = np.flatnonzero(added)
    assert len(back) == (samples - 1) * len(range(0, steps - length, length))
    after = program.ends[back, 0] * scale[back], np.hypot(program.ends[back, 1] * scale[back], added[back])
    np.testing.assert_allclose(after, program.starts[back + 1].T, rtol=1e-5)


def test_between_two_noises():
    one, other = draw(0, 1)
    np.testing.assert_allclose(spherical(one, other, 0.0), one, atol=1e-5)
    np.testing.assert_allclose(spherical(one, other, 1.0), other, atol=1e-5)
    assert abs(np.std(spherical(one, other, 0.5)) - 1) < 0.1 < 1 - np.std((one + other) / 2)
    np.testing.assert_allclose(spherical(one, one, 0.3), one, atol=1e-5)
