"""Every sampler that diffusers has too, over its whole trajectory: same betas, same network, same noise."""

import pytest

from genjax.diffusion import samplers
from tests.diffusion.trajectories import BETAS, KINDS, STEPS, compare, spaced

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:diffusers.*")
SPACINGS = ["linspace", "leading", "trailing"]
ORDERS = [(1, "midpoint"), (2, "midpoint"), (2, "heun")]


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("eta", [0.0, 0.7])
def test_ddim(kind, spacing, eta, monkeypatch):
    from diffusers import DDIMScheduler

    scheduler = DDIMScheduler(**BETAS, prediction_type=KINDS[kind], timestep_spacing=spacing, clip_sample=False)
    scheduler.set_timesteps(STEPS)
    step = scheduler.step
    monkeypatch.setattr(scheduler, "step", lambda *given: step(*given, eta=eta))
    compare(samplers.ddim(spaced(spacing, stride=1000 // STEPS), eta), kind, scheduler, monkeypatch)


# Of trailing steps the last adds large noise to the clean sample, in diffusers.
@pytest.mark.parametrize(
    "variance, spacing", [*(("small", spacing) for spacing in SPACINGS), ("large", "linspace"), ("large", "leading")]
)
@pytest.mark.parametrize("kind", KINDS)
def test_ddpm(kind, spacing, variance, monkeypatch):
    from diffusers import DDPMScheduler

    scheduler = DDPMScheduler(
        **BETAS, prediction_type=KINDS[kind], timestep_spacing=spacing, clip_sample=False, variance_type=f"fixed_{variance}"
    )
    scheduler.set_timesteps(STEPS)
    compare(samplers.ddpm(spaced(spacing), variance), kind, scheduler, monkeypatch)


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize(
    "name, kind",  # what diffusers' take
    [
        *(("euler", kind) for kind in KINDS),
        *(("lms", kind) for kind in KINDS),
        *((name, kind) for name in ("euler_ancestral", "heun") for kind in ("epsilon", "v")),
    ],
)
def test_samplers_of_k_diffusion(name, kind, spacing, monkeypatch):
    import diffusers

    class_name = {"euler": "Euler", "euler_ancestral": "EulerAncestral", "lms": "LMS", "heun": "Heun"}[name]
    scheduler = getattr(diffusers, f"{class_name}DiscreteScheduler")(
        **BETAS, prediction_type=KINDS[kind], timestep_spacing=spacing
    )
    scheduler.set_timesteps(STEPS)
    program = samplers.SAMPLERS[name](spaced(spacing, whole=False))
    compare(program, kind, scheduler, monkeypatch, scaled=True)


@pytest.mark.parametrize("kind", ["epsilon", "v"])
@pytest.mark.parametrize("ancestral", [False, True])
def test_kdpm2(kind, ancestral, monkeypatch):
    import diffusers

    scheduler = (diffusers.KDPM2AncestralDiscreteScheduler if ancestral else diffusers.KDPM2DiscreteScheduler)(
        **BETAS, prediction_type=KINDS[kind], timestep_spacing="linspace"
    )
    scheduler.set_timesteps(STEPS)
    compare(samplers.kdpm2(spaced("linspace", whole=False), ancestral), kind, scheduler, monkeypatch, scaled=True)


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "algorithm, order, form",
    [
        *((algorithm, *of) for algorithm in ("dpmsolver++", "dpmsolver", "sde-dpmsolver++", "sde-dpmsolver") for of in ORDERS),
        ("dpmsolver++", 3, "midpoint"),
        ("dpmsolver", 3, "midpoint"),
    ],
)
def test_dpm_solver(algorithm, order, form, kind, spacing, monkeypatch):
    from diffusers import DPMSolverMultistepScheduler

    end = "zero" if algorithm.endswith("++") else "sigma_min"
    scheduler = DPMSolverMultistepScheduler(
        **BETAS,
        prediction_type=KINDS[kind],
        timestep_spacing=spacing,
        algorithm_type=algorithm,
        solver_order=order,
        solver_type=form,
        final_sigmas_type=end,
    )
    scheduler.set_timesteps(STEPS)
    grid = spaced(spacing, without_end=True, end="clean" if end == "zero" else "first")
    expand = "data" if algorithm.endswith("++") else "noise"
    program = samplers.dpm_solver(grid, order, expand, algorithm.startswith("sde"), form)
    compare(program, kind, scheduler, monkeypatch)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("algorithm", ["dpmsolver++", "dpmsolver"])
@pytest.mark.parametrize("order, form", [*ORDERS, (3, "midpoint"), (3, "heun")])
def test_dpm_solver_singlestep(algorithm, order, form, kind, monkeypatch):
    from diffusers import DPMSolverSinglestepScheduler

    end = "zero" if algorithm.endswith("++") else "sigma_min"
    scheduler = DPMSolverSinglestepScheduler(
        **BETAS,
        prediction_type=KINDS[kind],
        algorithm_type=algorithm,
        solver_order=order,
        solver_type=form,
        final_sigmas_type=end,
        lower_order_final=True,
    )
    scheduler.set_timesteps(STEPS)
    grid = spaced("linspace", without_end=True, end="clean" if end == "zero" else "first")
    expand = "data" if algorithm.endswith("++") else "noise"
    compare(samplers.dpm_solver_singlestep(grid, order, expand, form=form), kind, scheduler, monkeypatch)


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("order", [1, 2, 3])
def test_deis(order, kind, spacing, monkeypatch):
    from diffusers import DEISMultistepScheduler

    scheduler = DEISMultistepScheduler(**BETAS, prediction_type=KINDS[kind], timestep_spacing=spacing, solver_order=order)
    scheduler.set_timesteps(STEPS)
    compare(samplers.deis(spaced(spacing, without_end=True, end="first"), order), kind, scheduler, monkeypatch)


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("form", ["bh1", "bh2"])
@pytest.mark.parametrize("expand", ["data", "noise"])
def test_unipc(expand, form, order, kind, spacing, monkeypatch):
    from diffusers import UniPCMultistepScheduler

    end = "zero" if (expand, form) == ("data", "bh2") else "sigma_min"  # diffusers' others end in NaN at zero
    scheduler = UniPCMultistepScheduler(
        **BETAS,
        prediction_type=KINDS[kind],
        timestep_spacing=spacing,
        solver_order=order,
        solver_type=form,
        predict_x0=expand == "data",
        final_sigmas_type=end,
    )
    scheduler.set_timesteps(STEPS)
    grid = spaced(spacing, without_end=True, end="clean" if end == "zero" else "first")
    compare(samplers.unipc(grid, order, expand, form), kind, scheduler, monkeypatch)


@pytest.mark.parametrize("skip", [True, False])
def test_pndm(skip, monkeypatch):
    """Not with v: diffusers mixes outputs of several times, as they are, where the paper mixes the noise that they tell."""
    from diffusers import PNDMScheduler

    scheduler = PNDMScheduler(**BETAS, skip_prk_steps=skip, set_alpha_to_one=True)
    scheduler.set_timesteps(STEPS)
    grid = spaced("leading", stride=1000 // STEPS)
    compare((samplers.plms if skip else samplers.pndm)(grid), "epsilon", scheduler, monkeypatch)
