"""What a diffusion model is beside its network: the forward process, what the network predicts, how it is trained and asked."""

import functools
import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, Real

from genjax.diffusion import grids, losses
from genjax.diffusion.grids import Grid
from genjax.diffusion.losses import Weighting
from genjax.diffusion.predictions import Kind, Prediction, edm_input_scale, over, predict, target
from genjax.diffusion.schedules import (
    EDM,
    DiscreteSchedule,
    RectifiedFlow,
    Schedule,
    VarianceExploding,
    VariancePreserving,
    make_betas,
    shift_time,
    zero_terminal_snr,
)
from genjax.errors import ConfigError

BETAS = ("linear", "scaled_linear", "cosine", "sigmoid")
BY_RATIO = ("ve", "edm")  # processes that lose nothing of the sample; the network sees it at variance 1, and log(sigma) / 4
SPACINGS = ("linspace", "leading", "trailing", "uniform", "karras", "exponential")


@dataclass(frozen=True)
class ProcessConfig:
    """The process in figures. The defaults are DDPM's (Ho et al., 2020).

    Attributes:
        schedule: one of betas over `timesteps` steps, or a process in continuous time (see `schedules`).
        timesteps, beta_start, beta_end: of the betas.
        zero_terminal_snr: nothing of the sample is left at the last timestep (Lin et al., 2023).
        beta_min, beta_max: of "vp".
        sigma_min, sigma_max: of "ve" and "edm": the levels that sampling goes through, and those of "ve" in training.
        sigma_data: the standard deviation of the data, of "edm".
        prediction: what the network says (see `predictions`).
        variance: of the noise of a step of DDPM: one of its two choices, "small" or "large" (Ho et al., 2020, section 3.2);
            "learned": the network has twice the channels and says where between them (Nichol and Dhariwal, 2021), by the hybrid
            loss, equation 16 there.
        weighting, gamma: what an error counts at each level (`losses.loss_weight`).
        drawn: how levels are drawn in training: evenly over time (over log(sigma) for "edm"), "log_normal" sigma ("edm"), or
            "logit_normal" times ("vp", "flow"); by `drawn_mean` and `drawn_std`.
        stratified: each batch covers the levels evenly.
        earliest: the smallest time that is drawn, of "vp" and "flow".
        time_scale: by which times in [0, 1], or log(sigma) / 4, are multiplied before the network sees them.
        time_shift: of "flow" (`schedules.shift_time`), in training and in sampling.
        noise_offset: see `losses.draw_noise`.
        steps_offset: added to the timesteps of the spacing "leading".
    """

    schedule: Literal["linear", "scaled_linear", "cosine", "sigmoid", "vp", "ve", "edm", "flow"] = "linear"
    timesteps: int = 1000
    beta_start: float = 1e-4
    beta_end: float = 0.02
    zero_terminal_snr: bool = False
    beta_min: float = 0.1
    beta_max: float = 20.0
    sigma_min: float = 0.002
    sigma_max: float = 80.0
    sigma_data: float = 0.5
    prediction: Kind = "epsilon"
    variance: Literal["small", "large", "learned"] = "small"
    weighting: Weighting = "simple"
    gamma: float = 5.0
    drawn: Literal["evenly", "log_normal", "logit_normal"] = "evenly"
    drawn_mean: float = -1.2
    drawn_std: float = 1.2
    stratified: bool = False
    earliest: float = 1e-3
    time_scale: float = 1000.0
    time_shift: float = 1.0
    noise_offset: float = 0.0
    steps_offset: int = 0

    def __post_init__(self):
        if self.learned_variance and not self.discrete:
            raise ConfigError(
                f"process.variance 'learned' needs a schedule of betas ({', '.join(BETAS)}), but schedule is '{self.schedule}'."
            )
        if self.learned_variance and self.zero_terminal_snr:
            raise ConfigError("process.variance 'learned' and zero_terminal_snr do not go together: the last step has no bounds.")
        if self.zero_terminal_snr and (not self.discrete or self.prediction in ("epsilon", "score")):
            raise ConfigError(
                "process.zero_terminal_snr needs a schedule of betas and a network that predicts v or the sample: at the last "
                f"timestep, noise says nothing of it; schedule is '{self.schedule}', prediction '{self.prediction}'."
            )
        allowed = {"log_normal": ("edm",), "logit_normal": ("vp", "flow")}.get(self.drawn, (self.schedule,))
        if self.schedule not in allowed:
            raise ConfigError(f"process.drawn '{self.drawn}' is for {' and '.join(allowed)}, not for '{self.schedule}'.")
        for name in ("sigma_min", "sigma_data", "gamma", "drawn_std", "time_scale", "time_shift", "beta_min"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"process.{name} is {getattr(self, name)}; it must be above 0.")
        for low, high in (("sigma_min", "sigma_max"), ("beta_min", "beta_max")):
            if getattr(self, low) >= getattr(self, high):
                raise ConfigError(f"process.{low} is {getattr(self, low)}, which is not below {high} {getattr(self, high)}.")
        if not 0 <= self.earliest < 1:
            raise ConfigError(f"process.earliest is {self.earliest}; it must be at least 0 and below 1.")

    @property
    def learned_variance(self) -> bool:
        return self.variance == "learned"

    @property
    def discrete(self) -> bool:
        return self.schedule in BETAS

    @property
    def default_spacing(self) -> str:
        return "trailing" if self.discrete else "uniform" if self.schedule == "flow" else "karras"


class Noisy(NamedTuple):
    """A batch on its way to noise.

    Attributes:
        x: alpha clean + sigma noise.
        time: as the schedule calls the level.
    """

    x: Float[Array, "batch *shape"]
    clean: Float[Array, "batch *shape"]
    noise: Float[Array, "batch *shape"]
    time: Real[Array, "batch"]
    alpha: Float[Array, "batch"]
    sigma: Float[Array, "batch"]


@dataclass(frozen=True)
class Process:
    config: ProcessConfig

    @functools.cached_property
    def schedule(self) -> Schedule:
        c = self.config
        if c.schedule == "vp":
            return VariancePreserving(c.beta_min, c.beta_max)
        if c.schedule == "ve":
            return VarianceExploding(c.sigma_min, c.sigma_max)
        if c.schedule == "edm":
            return EDM()
        if c.schedule == "flow":
            return RectifiedFlow()
        betas = make_betas(c.schedule, c.timesteps, c.beta_start, c.beta_end)
        return DiscreteSchedule(zero_terminal_snr(betas) if c.zero_terminal_snr else betas)

    def time_at(self, share: Float[Array, "batch"]) -> Real[Array, "batch"]:
        """The time that training meets where `share` in [0, 1) of all times are cleaner."""
        c = self.config
        if c.discrete:
            return jnp.minimum((share * c.timesteps).astype(jnp.int32), c.timesteps - 1)
        if c.drawn == "log_normal":
            return losses.log_normal(share, c.drawn_mean, c.drawn_std)
        if c.schedule == "edm":
            low, high = math.log(c.sigma_min), math.log(c.sigma_max)
            return jnp.exp(low + (high - low) * share)
        time = losses.logit_normal(share, c.drawn_mean, c.drawn_std) if c.drawn == "logit_normal" else share
        if c.schedule == "flow":
            time = shift_time(time, c.time_shift)
        return time if c.schedule == "ve" else c.earliest + (1 - c.earliest) * time

    def draw_shares(self, key: Key[Array, ""], count: int) -> Float[Array, "{count}"]:
        """For `time_at`."""
        return losses.draw_even(key, count) if self.config.stratified else jax.random.uniform(key, (count,))

    def noisy(self, key: Key[Array, ""], clean: Float[Array, "batch *shape"], share: Float[Array, "batch"]) -> Noisy:
        """Clean samples with noise of the levels that the shares name."""
        time = self.time_at(share)
        alpha, sigma = self.schedule.levels(time)
        noise = losses.draw_noise(key, clean.shape, self.config.noise_offset)
        return Noisy(over(alpha, clean) * clean + over(sigma, clean) * noise, clean, noise, time, alpha, sigma)

    def network_input(
        self,
        x: Float[Array, "batch *shape"],
        time: Real[Array, "batch"],
        alpha: Float[Array, "batch"],
        sigma: Float[Array, "batch"],
    ) -> tuple[Float[Array, "batch *shape"], Float[Array, "batch"]]:
        """The sample and the time as the network sees them (Karras et al., 2022, table 1): at variance 1 where the process lets
        it grow or EDM's network is asked; for the time of "ve" and "edm" log(sigma / alpha) / 4, at least that of sigma_min."""
        c = self.config
        if c.schedule in BY_RATIO or c.prediction == "edm":
            x = over(edm_input_scale(alpha, sigma, c.sigma_data), x) * x
        if c.discrete:
            return x, time
        if c.schedule in BY_RATIO:
            time = jnp.log(jnp.maximum(sigma / alpha, c.sigma_min)) / 4
        return x, c.time_scale * time

    def predict(
        self,
        output: Float[Array, "batch *outputs"],
        x: Float[Array, "batch *shape"],
        alpha: Float[Array, "*levels"],
        sigma: Float[Array, "*levels"],
    ) -> Prediction:
        """What the network's output says of x."""
        variance = None
        if self.config.learned_variance:
            output, raw = jnp.split(output, 2, axis=-1)
            variance = (raw + 1) / 2
        found = predict(self.config.prediction, output, x, alpha, sigma, self.config.sigma_data)
        return found._replace(variance=variance)

    def losses(self, output: Float[Array, "batch *outputs"], at: Noisy) -> Float[Array, "batch"]:
        """The weighed mean squared error of each sample, and the variational bound's part where the variance is learned."""
        c = self.config
        said = jnp.split(output, 2, axis=-1)[0] if c.learned_variance else output
        wished = target(c.prediction, at.clean, at.noise, at.alpha, at.sigma, c.sigma_data)
        error = jnp.square(said - wished).reshape(len(said), -1).mean(1)
        weight = losses.loss_weight(c.prediction, c.weighting, at.alpha, at.sigma, gamma=c.gamma, sigma_data=c.sigma_data)
        if not c.learned_variance:
            return weight * error
        # The bound teaches the variance alone, and counts T / 1000 of its bits (Nichol and Dhariwal, 2021, section 3.1).
        held = jnp.concatenate([jax.lax.stop_gradient(said), output[..., said.shape[-1] :]], -1)
        found = self.predict(held, at.x, at.alpha, at.sigma)
        return weight * error + c.timesteps / 1000 * self.bound(found, at)

    def bound(self, found: Prediction, at: Noisy) -> Float[Array, "batch"]:
        """The term of the variational bound at these timesteps, in bits a dimension, of a schedule of betas."""
        small, large = (jnp.asarray(bound, jnp.float32)[at.time] for bound in losses.log_variance_bounds(self.schedule))
        if found.variance is None:
            log_variance = over(large if self.config.variance == "large" else small, at.x)
        else:
            log_variance = over(small, at.x) + over(large - small, at.x) * found.variance
        alpha, sigma = self.schedule.levels(jnp.maximum(at.time - 1, 0))
        first = at.time == 0
        end = jnp.where(first, 1.0, alpha), jnp.where(first, 0.0, sigma)
        return losses.variational_bound(at.clean, at.x, found.clean, log_variance, (at.alpha, at.sigma), end)

    def grid(self, steps: int, spacing: str = "") -> Grid:
        """Levels from noise to clean.

        Args:
            spacing: of timesteps, for a schedule of betas: linspace, leading, trailing; of times: uniform; of sigma / alpha:
                karras, exponential. "": the process's own.

        Raises:
            ConfigError: no steps, more than there are, or a spacing that the process does not have.
        """
        c, spacing = self.config, spacing or self.config.default_spacing
        known = SPACINGS if c.discrete else SPACINGS[3:]
        if spacing not in known:
            raise ConfigError(f"unknown spacing '{spacing}' for a process '{c.schedule}'; use one of {', '.join(known)}.")
        if steps < 1:
            raise ConfigError(f"{steps} steps were asked for; ask for 1 or more.")
        if c.discrete and spacing in SPACINGS[:4]:
            spacing = "linspace" if spacing == "uniform" else spacing
            times = grids.spaced_timesteps(spacing, c.timesteps, steps, offset=c.steps_offset)
            return grids.discrete_grid(self.schedule, times)
        if spacing == "uniform" and c.schedule == "flow":
            return grids.time_grid(self.schedule, shift_time(np.linspace(1.0, 0.0, steps + 1), c.time_shift))
        if spacing == "uniform":
            alpha, sigma = self.schedule.levels(np.linspace(*self._ends(), steps))
            return grids.ratio_grid(self.schedule, sigma / alpha)
        with np.errstate(divide="ignore"):
            low, high = (float(np.divide(*self.schedule.levels(np.asarray(time))[::-1])) for time in self._ends()[::-1])
        if not math.isfinite(high):
            raise ConfigError(
                f"spacing '{spacing}' measures in sigma / alpha, which is infinite where a process '{c.schedule}' starts; use "
                f"{' or '.join(known[:4] if c.discrete else ('uniform',))}."
            )
        make = grids.karras_ratios if spacing == "karras" else grids.exponential_ratios
        return grids.ratio_grid(self.schedule, make(steps, low, high))

    def _ends(self) -> tuple[float, float]:
        """The last and the first time."""
        c = self.config
        if c.discrete:
            return c.timesteps - 1.0, 0.0
        if c.schedule == "edm":
            return c.sigma_max, c.sigma_min
        return 1.0, 0.0 if c.schedule == "ve" else c.earliest
