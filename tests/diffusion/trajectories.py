"""A made-up network, and the way of a sample through ours and through a scheduler of diffusers: same noise, same network."""

import importlib
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import torch

from genjax.diffusion import grids
from genjax.diffusion.predictions import predict
from genjax.diffusion.programs import run
from genjax.diffusion.schedules import DiscreteSchedule, make_betas

# Samples of order 1 (of order 15 where sigma / alpha is the scale) in float32. The issue asks for 1e-4.
TOLERANCE = 1e-4
STEPS, SHAPE = 10, (2, 3, 4, 1)
KINDS = {"epsilon": "epsilon", "sample": "sample", "v": "v_prediction"}
BETAS = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
SCHEDULE = DiscreteSchedule(make_betas("scaled_linear", 1000, 0.00085, 0.012))


def network(kind, x, time, library):
    """A made-up network: far from linear, another one at each time, and of the size that what it predicts has."""
    wave = 0.4 * library.sin(2 * x + time / 250) + 0.2 * library.cos(x + time / 100)
    return wave + x * time / 1000 if kind == "epsilon" else wave


def denoiser(kind):
    def denoise(x, time, alpha, sigma):
        return predict(kind, network(kind, x, time, jnp), x, alpha, sigma)

    return denoise


@partial(jax.jit, static_argnums=0)
def run_to(kind, program, start, noise, evaluations):
    keys = jax.random.split(jax.random.key(0), len(start))
    return run(denoiser(kind), start, program.replace(evaluations=evaluations), keys, fresh=lambda row: noise[row])[0]


def trajectory(program, kind, noise, start):
    """The sample after each evaluation."""
    return [np.asarray(run_to(kind, program, start, noise, row + 1)) for row in range(int(program.evaluations))]


def theirs(scheduler, kind, noise, start, monkeypatch, scaled):
    """The same of a scheduler of diffusers; `scaled`: its samples are divided by alpha."""
    number = 0
    module = importlib.import_module(type(scheduler).__module__)
    if hasattr(module, "randn_tensor"):
        monkeypatch.setattr(module, "randn_tensor", lambda *_, **__: torch.from_numpy(noise[number]))
    x, found = torch.from_numpy(start) * (scheduler.init_noise_sigma if scaled else 1.0), []
    for number, time in enumerate(scheduler.timesteps):  # noqa: B007  (read by the patch)
        output = network(kind, scheduler.scale_model_input(x, time), time.item(), torch)
        x = scheduler.step(output, time, x).prev_sample
        found.append(x.numpy())
    return found


def alphas_after(program):
    return np.asarray(program.ends[: int(program.evaluations), 0])


def compare(program, kind, scheduler, monkeypatch, *, scaled=False, tolerance=1e-3):
    generator = np.random.default_rng(0)
    start = generator.standard_normal(SHAPE).astype(np.float32)
    noise = generator.standard_normal((64, *SHAPE)).astype(np.float32)
    told = program.times[: int(program.evaluations)]
    np.testing.assert_allclose(told, scheduler.timesteps.numpy(), rtol=1e-5, atol=tolerance)
    expected = theirs(scheduler, kind, noise, start, monkeypatch, scaled)
    first = float(scheduler.init_noise_sigma * program.starts[0, 0]) if scaled else 1.0
    found = trajectory(program, kind, noise, start * np.float32(first))
    if scaled:
        found = [x / alpha for x, alpha in zip(found, alphas_after(program), strict=True)]
    assert len(found) == len(expected)
    for ours, other in zip(found, expected, strict=True):
        assert np.abs(ours - other).max() < TOLERANCE * max(1.0, np.abs(other).max())


def spaced(spacing, *, schedule=SCHEDULE, without_end=False, whole=True, **arguments):
    timesteps = grids.spaced_timesteps(spacing, schedule.steps, STEPS, without_end=without_end, whole=whole)
    return grids.discrete_grid(schedule, timesteps, **arguments)
