"""A diffusion model's process in the layout of diffusers' schedulers (scheduler_config.json), both ways."""

from collections.abc import Mapping
from typing import Any

from genjax.diffusion.process import ProcessConfig
from genjax.interop.settings import Settings

FILE = "scheduler_config.json"
# Their schedulers and the names of our samplers.
SAMPLERS = {
    "DDPMScheduler": "ddpm",
    "DDIMScheduler": "ddim",
    "PNDMScheduler": "pndm",
    "LMSDiscreteScheduler": "lms",
    "EulerDiscreteScheduler": "euler",
    "EulerAncestralDiscreteScheduler": "euler_ancestral",
    "HeunDiscreteScheduler": "heun",
    "KDPM2DiscreteScheduler": "kdpm2",
    "DPMSolverMultistepScheduler": "dpm++_2m",
    "DEISMultistepScheduler": "deis",
    "UniPCMultistepScheduler": "unipc",
    "LCMScheduler": "lcm",
    "FlowMatchEulerDiscreteScheduler": "flow_euler",
}
_BETAS = {"linear": "linear", "scaled_linear": "scaled_linear", "squaredcos_cap_v2": "cosine", "sigmoid": "sigmoid"}
_PREDICTIONS = {"epsilon": "epsilon", "sample": "sample", "v_prediction": "v"}
_VARIANCES = {
    **{"fixed_small": "small", "fixed_small_log": "small", "fixed_large": "large", "fixed_large_log": "large"},
    **{"learned_range": "learned"},
}


def from_json(values: Mapping[str, Any], where: str) -> tuple[ProcessConfig, dict[str, Any]]:
    """The process, and how the model is meant to be sampled: sampler, spacing, clip.

    Raises:
        CheckpointError: names every setting that changes the numbers and that genjax does not have.
    """
    s = Settings(values, where)
    name = values.get("_class_name", "DDPMScheduler")
    s.require("_class_name", *SAMPLERS)
    sampler = SAMPLERS.get(name, "ddpm")
    steps = s.integer("num_train_timesteps", 1000)
    if sampler == "flow_euler":
        for key in ("use_dynamic_shifting", "invert_sigmas", "use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas"):
            s.require(key, False)
        s.require("shift_terminal")
        process = ProcessConfig(
            schedule="flow", prediction="flow", earliest=0.0, time_scale=float(steps), time_shift=s.number("shift", 1.0)
        )
        s.check()
        return process, {"sampler": sampler, "clip": False}
    s.require("trained_betas")
    s.require("thresholding", False)
    s.require("clip_sample_range", 1.0, 1)
    found = {
        "schedule": _known(s, "beta_schedule", "linear", _BETAS),
        "prediction": _known(s, "prediction_type", "epsilon", _PREDICTIONS),
        "variance": _known(s, "variance_type", "fixed_small", _VARIANCES),
    }
    spacing = "karras" if s.boolean("use_karras_sigmas", False) else values.get("timestep_spacing") or "leading"
    process = {
        **found,
        "timesteps": steps,
        "beta_start": s.number("beta_start", 1e-4),
        "beta_end": s.number("beta_end", 0.02),
        "zero_terminal_snr": s.boolean("rescale_betas_zero_snr", False),
        "steps_offset": int(s.number("steps_offset", 0)),
    }
    s.check()
    return ProcessConfig(**process), {"sampler": sampler, "spacing": spacing, "clip": bool(values.get("clip_sample", False))}


def to_json(config: ProcessConfig, clip: bool) -> dict[str, Any] | None:
    """DDPM's or flow matching's scheduler; None for a process that diffusers has no settings for."""
    if config.schedule == "flow" and config.prediction == "flow":
        name = "FlowMatchEulerDiscreteScheduler"
        return {"_class_name": name, "num_train_timesteps": round(config.time_scale), "shift": config.time_shift}
    if not config.discrete or config.prediction not in _PREDICTIONS.values():
        return None
    reverse = lambda table, value: next(theirs for theirs, ours in table.items() if ours == value)  # noqa: E731
    return {
        "_class_name": "DDPMScheduler",
        "num_train_timesteps": config.timesteps,
        "beta_schedule": reverse(_BETAS, config.schedule),
        "beta_start": config.beta_start,
        "beta_end": config.beta_end,
        "prediction_type": reverse(_PREDICTIONS, config.prediction),
        "variance_type": reverse(_VARIANCES, config.variance),
        "rescale_betas_zero_snr": config.zero_terminal_snr,
        "clip_sample": clip,
        "timestep_spacing": "trailing",
        "steps_offset": config.steps_offset,
    }


def _known(s: Settings, key: str, default: str, table: Mapping[str, str]) -> str:
    value = s.values.get(key) or default
    if value not in table:
        s.problem(f"{key} is {value!r}; supported: {' or '.join(map(repr, table))}")
    return table.get(value, table[default])
