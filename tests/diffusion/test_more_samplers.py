"""Samplers on other grids and processes, and those of which diffusers has another form or none."""

import importlib.util
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from genjax.diffusion import grids, samplers
from genjax.diffusion.predictions import Prediction
from genjax.diffusion.programs import run
from genjax.diffusion.schedules import EDM, DiscreteSchedule, RectifiedFlow, make_betas, shift_time, zero_terminal_snr
from genjax.errors import ConfigError
from tests.diffusion.mixtures import Mixture
from tests.diffusion.trajectories import (
    BETAS,
    KINDS,
    SCHEDULE,
    SHAPE,
    STEPS,
    TOLERANCE,
    compare,
    denoiser,
    network,
    spaced,
    trajectory,
)

ENDS = float(SCHEDULE.ratios[0]), float(SCHEDULE.ratios[-1])


def ratios(name):
    return (grids.karras_ratios if name == "karras" else grids.exponential_ratios)(STEPS, *ENDS)


@pytest.mark.parametrize("levels", ["karras", "exponential"])
def test_levels_of_euler(levels, monkeypatch):
    from diffusers import EulerDiscreteScheduler

    scheduler = EulerDiscreteScheduler(**BETAS, **{f"use_{levels}_sigmas": True})
    scheduler.set_timesteps(STEPS)
    grid = grids.ratio_grid(SCHEDULE, ratios(levels))
    compare(samplers.euler(grid), "epsilon", scheduler, monkeypatch, scaled=True, tolerance=0.02)


@pytest.mark.parametrize("order", [2, 3])
def test_karras_levels_of_dpm_solver(order, monkeypatch):
    from diffusers import DPMSolverMultistepScheduler

    scheduler = DPMSolverMultistepScheduler(**BETAS, use_karras_sigmas=True, solver_order=order)
    scheduler.set_timesteps(STEPS)
    program = samplers.dpm_solver(grids.ratio_grid(SCHEDULE, ratios("karras"), whole=True), order)
    compare(program, "epsilon", scheduler, monkeypatch)


@pytest.mark.parametrize("kind", ["epsilon", "v"])
def test_dpm_sde(kind, monkeypatch):
    """Its Brownian motion over sigma, from the two pieces that we draw of each step."""
    import diffusers.schedulers  # noqa: F401  (looks for torchsde)

    if importlib.util.find_spec("torchsde") is None:  # it draws the motion, which is replaced here
        monkeypatch.setitem(sys.modules, "torchsde", types.ModuleType("torchsde"))
    from diffusers.schedulers.scheduling_dpmsolver_sde import DPMSolverSDEScheduler

    scheduler = DPMSolverSDEScheduler(**BETAS, prediction_type=KINDS[kind], use_karras_sigmas=True)
    scheduler.set_timesteps(STEPS)
    program = samplers.dpm_sde(grids.ratio_grid(SCHEDULE, ratios("karras")))
    noise = torch.from_numpy(np.random.default_rng(0).standard_normal((65, *SHAPE)).astype(np.float32))[1:]
    row = 0

    def brownian(start, end):
        nonlocal row
        middle = (start * end) ** 0.5
        if row % 2 == 0:
            found = noise[row]
        else:
            before, after = (start - middle) ** 0.5, (middle - end) ** 0.5
            found = (before * noise[row - 1] + after * noise[row]) / (start - end) ** 0.5
        row += 1
        return found

    scheduler.noise_sampler = brownian
    compare(program, kind, scheduler, monkeypatch, scaled=True, tolerance=0.02)


def test_zero_terminal_snr(monkeypatch):
    """From pure noise, where sigma / alpha is infinite."""
    from diffusers import DDIMScheduler

    options = dict(prediction_type="v_prediction", timestep_spacing="trailing", clip_sample=False)
    scheduler = DDIMScheduler(**BETAS, **options, rescale_betas_zero_snr=True)
    scheduler.set_timesteps(STEPS)
    schedule = DiscreteSchedule(zero_terminal_snr(SCHEDULE.betas))
    grid = spaced("trailing", schedule=schedule)
    assert grid.starts[0].alpha == 0
    compare(samplers.ddim(grid), "v", scheduler, monkeypatch)
    for program in (samplers.dpm_solver(grid, 3), samplers.unipc(grid), samplers.euler_ancestral(grid), samplers.ddpm(grid)):
        assert np.isfinite(program.matrices).all()
        start, noise = (np.random.default_rng(1).standard_normal(shape).astype(np.float32) for shape in (SHAPE, (64, *SHAPE)))
        assert np.isfinite(trajectory(program, "v", noise, start)[-1]).all()
    for name in ("heun", "kdpm2", "lms", "deis", "plms", "pndm", "edm", "dpm++_sde"):
        with pytest.raises(ConfigError, match="cannot start from pure noise"):
            samplers.SAMPLERS[name](grid)


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_flow_euler(shift, monkeypatch):
    from diffusers import FlowMatchEulerDiscreteScheduler

    scheduler = FlowMatchEulerDiscreteScheduler(shift=shift)
    scheduler.set_timesteps(STEPS)
    scheduler.init_noise_sigma, scheduler.scale_model_input = 1.0, lambda x, time: x
    # diffusers shifts its ends, which are 1 / 1000 and 1, before it lays out the steps between them, and these once more.
    low = shift_time(1 / 1000, shift)
    times = 1000 * np.append(shift_time(np.linspace(1, low, STEPS), shift), 0)
    compare(samplers.euler(grids.time_grid(RectifiedFlow(1000.0), times)), "flow", scheduler, monkeypatch)


def test_flow_heun(monkeypatch):
    from diffusers import FlowMatchHeunDiscreteScheduler

    scheduler = FlowMatchHeunDiscreteScheduler()
    scheduler.set_timesteps(STEPS)
    scheduler.init_noise_sigma, scheduler.scale_model_input = 1.0, lambda x, time: x
    times = 1000 * np.append(np.linspace(1, 1 / 1000, STEPS), 0)
    compare(samplers.flow_heun(grids.time_grid(RectifiedFlow(1000.0), times)), "flow", scheduler, monkeypatch)


def test_lcm(monkeypatch):
    from diffusers import LCMScheduler

    scheduler = LCMScheduler(**BETAS)
    scheduler.set_timesteps(4)
    grid = grids.discrete_grid(SCHEDULE, scheduler.timesteps.numpy().astype(float))
    compare(samplers.lcm(grid), "epsilon", scheduler, monkeypatch)


@pytest.mark.parametrize("churn", [0.0, 4.0])
def test_edm_is_algorithm_2(churn):
    """Karras et al., 2022, written down again in float64."""
    sigmas = np.append(grids.karras_ratios(8, 0.01, 20.0), 0)
    program = samplers.edm(grids.ratio_grid(EDM(), sigmas[:-1]), churn, 0.05, 10.0, 1.007)
    generator = np.random.default_rng(0)
    start, noise = (generator.standard_normal(shape).astype(np.float32) for shape in (SHAPE, (32, *SHAPE)))

    def clean(x, sigma):
        return np.tanh(x / (1 + sigma)) * 0.8

    x, row = sigmas[0] * np.asarray(start, np.float64), 0
    for number, (sigma, after) in enumerate(zip(sigmas[:-1], sigmas[1:], strict=True)):
        gamma = min(churn / 8, np.sqrt(2) - 1) if 0.05 <= sigma <= 10.0 else 0.0
        raised = sigma * (1 + gamma)
        if gamma and number:
            x = x + 1.007 * np.sqrt(raised**2 - sigma**2) * noise[row - 1]
        slope = (x - clean(x, raised)) / raised
        end = x + (after - raised) * slope
        row += 1
        if after:
            end = x + (after - raised) * (slope + (end - clean(end, after)) / after) / 2
            row += 1
        x = end

    def denoise(x, time, alpha, sigma):
        found = jnp.tanh(x / (1 + time)) * 0.8
        return Prediction(found, (x - found) / sigma)

    keys = jax.random.split(jax.random.key(0), 2)
    found, _ = run(denoise, program.starts[0, 1] * start, program, keys, fresh=lambda row: jnp.asarray(noise)[row])
    assert row == int(program.evaluations) and np.abs(found - x).max() < TOLERANCE


def test_learned_variances_of_ddpm(monkeypatch):
    from diffusers import DDPMScheduler

    scheduler = DDPMScheduler(**BETAS, variance_type="learned_range", clip_sample=False)
    scheduler.set_timesteps(STEPS)
    generator = np.random.default_rng(0)
    start, noise = (generator.standard_normal(shape).astype(np.float32) for shape in (SHAPE, (64, *SHAPE)))
    number = 0
    draw = lambda *_, **__: torch.from_numpy(np.moveaxis(noise[number], -1, 1))  # noqa: E731
    monkeypatch.setattr("diffusers.schedulers.scheduling_ddpm.randn_tensor", draw)
    x = torch.from_numpy(np.moveaxis(start, -1, 1))
    for number, time in enumerate(scheduler.timesteps):  # noqa: B007
        output = network("epsilon", x, time.item(), torch)
        x = scheduler.step(torch.cat([output, torch.sin(x)], dim=1), time, x).prev_sample

    def denoise(x, time, alpha, sigma):
        found = denoiser("epsilon")(x, time, alpha, sigma)
        return found._replace(variance=(jnp.sin(x) + 1) / 2)

    keys = jax.random.split(jax.random.key(0), 2)
    program = samplers.ddpm(spaced("leading"), "learned")
    found, _ = run(denoise, jnp.asarray(start), program, keys, fresh=lambda row: jnp.asarray(noise)[row])
    assert np.abs(np.moveaxis(np.asarray(found), -1, 1) - x.numpy()).max() < TOLERANCE * max(1, np.abs(x.numpy()).max())


def test_inversion_reconstructs():
    """DDIM there and back along the same levels: what is left of the difference falls with the steps."""
    schedule = DiscreteSchedule(make_betas("linear"))
    mixture = Mixture()
    image = mixture.draw(np.random.default_rng(0), (2, 200)).astype(np.float32)
    keys = jax.random.split(jax.random.key(0), len(image))
    errors = []
    for steps in (20, 80):
        grid = grids.discrete_grid(schedule, grids.spaced_timesteps("linspace", 1000, steps), end="first")
        noise, _ = run(mixture.denoise, image, samplers.ddim(grid.reversed()), keys)
        assert 0.8 < np.asarray(noise).std() < 1.2
        again, _ = run(mixture.denoise, noise, samplers.ddim(grid), keys)
        errors.append(np.abs(again - image).mean())
    assert errors[1] < errors[0] / 2 and errors[1] < 0.05


def test_one_compilation_for_all(monkeypatch):
    """Another sampler, other steps, another schedule: other numbers, the same program."""
    traced = []

    def denoise(x, time, alpha, sigma):
        traced.append(1)
        return denoiser("epsilon")(x, time, alpha, sigma)

    sample = jax.jit(lambda x, program, keys: run(denoise, x, program, keys)[0])
    keys = jax.random.split(jax.random.key(0), 2)
    x = np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)
    ends = []
    for name in ("ddim", "euler_ancestral", "dpm++_2m", "dpm++_2m_sde", "unipc", "plms", "lms", "deis"):
        for spacing in ("linspace", "trailing"):
            ends.append(np.asarray(sample(x, samplers.SAMPLERS[name](spaced(spacing)), keys)))
    assert len(traced) == 1
    assert len({end.tobytes() for end in ends}) == len(ends)


def test_a_sample_is_its_own(monkeypatch):
    """What it becomes depends on its key, not on its neighbours."""
    keys = jax.random.split(jax.random.key(3), 4)
    x = np.random.default_rng(0).standard_normal((4, 3, 2)).astype(np.float32)
    program = samplers.euler_ancestral(spaced("trailing"))
    together, _ = run(denoiser("epsilon"), x, program, keys)
    alone, _ = run(denoiser("epsilon"), x[2:3], program, keys[2:3])
    np.testing.assert_allclose(together[2:3], alone, rtol=1e-6, atol=1e-6)


def test_frames_show_the_way():
    keys, x = jax.random.split(jax.random.key(3), 1), np.ones((1, 3), np.float32)
    program = samplers.ddim(spaced("trailing"))
    end, film = run(denoiser("epsilon"), x, program, keys, frames=4)
    assert film.shape == (4, 1, 3)
    np.testing.assert_allclose(film[-1], end, atol=1e-6)  # the last step goes to what was predicted
    assert np.abs(np.diff(film, axis=0)).max(axis=(1, 2)).min() > 1e-3
