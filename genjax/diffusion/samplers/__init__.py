"""Samplers: each takes a grid and gives a program (genjax/diffusion/programs.py)."""

from collections.abc import Callable
from functools import partial

from genjax.diffusion.programs import Program
from genjax.diffusion.samplers.consistency import consistency, lcm
from genjax.diffusion.samplers.exponential import dpm_solver, dpm_solver_singlestep, unipc
from genjax.diffusion.samplers.langevin import predictor_corrector
from genjax.diffusion.samplers.multistep import deis, lms, plms, pndm
from genjax.diffusion.samplers.one_step import ddim, ddpm, euler, euler_ancestral
from genjax.diffusion.samplers.two_step import dpm_sde, edm, flow_heun, heun, kdpm2

# By the names that a user asks for.
SAMPLERS: dict[str, Callable[..., Program]] = {
    "ddpm": ddpm,
    "ddim": ddim,
    "euler": euler,
    "euler_ancestral": euler_ancestral,
    "heun": heun,
    "kdpm2": kdpm2,
    "kdpm2_ancestral": partial(kdpm2, ancestral=True),
    "edm": edm,
    "lms": lms,
    "plms": plms,
    "pndm": pndm,
    "deis": deis,
    "dpm++_1s": partial(dpm_solver_singlestep, order=1),
    "dpm++_2s": partial(dpm_solver_singlestep, order=2),
    "dpm++_3s": partial(dpm_solver_singlestep, order=3, form="heun"),
    "dpm++_2m": partial(dpm_solver, order=2),
    "dpm++_3m": partial(dpm_solver, order=3),
    "dpm++_2m_sde": partial(dpm_solver, order=2, stochastic=True),
    "dpm++_3m_sde": partial(dpm_solver, order=3, stochastic=True),
    "dpm++_sde": dpm_sde,
    "unipc": unipc,
    "predictor_corrector": predictor_corrector,
    "flow_euler": euler,
    "flow_heun": flow_heun,
    "lcm": lcm,
    "consistency": consistency,
}
