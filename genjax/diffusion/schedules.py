"""Forward processes: how much of the clean sample and how much noise there is at each time.

A schedule tells alpha and sigma of x_t = alpha x_0 + sigma noise at a time, and the time at which sigma / alpha has a value.
Times are what a network is told: 0 to T - 1 for the discrete ones, 0 to 1 for the continuous ones, sigma itself for EDM. All is
float64 until it meets an array of JAX.
"""

import math
from dataclasses import dataclass, field
from typing import Literal, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Real

from genjax.errors import ConfigError

BetaSchedule = Literal["linear", "scaled_linear", "cosine", "sigmoid"]


class Schedule(Protocol):
    def levels(self, time: Real[Array, "..."]) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
        """(alpha, sigma) at each time, as arrays of the library that the times are of."""

    def time_of(self, ratio: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
        """The time at which sigma / alpha is `ratio`; the nearest end where it never is."""

    def levels_at(self, ratio: Float[np.ndarray, "..."]) -> tuple[Float[np.ndarray, "..."], Float[np.ndarray, "..."]]:
        """(alpha, sigma) where sigma / alpha is `ratio`."""
        return self.levels(self.time_of(ratio))


def make_betas(name: BetaSchedule, steps: int = 1000, start: float = 1e-4, end: float = 0.02) -> Float[np.ndarray, "steps"]:
    """The variance that each of `steps` steps adds.

    linear: DDPM (Ho et al., 2020), section 4. scaled_linear: linear in the square root, as in latent diffusion (with 0.00085
    and 0.012). cosine: Nichol and Dhariwal, 2021, equation 17, at most 0.999; it takes no start and end. sigmoid: from start to
    end along a logistic curve from -6 to 6 (GeoDiff; Xu et al., 2022).

    Raises:
        ConfigError: fewer than 2 steps, or a start and end that are not 0 < start < end < 1.
    """
    if steps < 2 or not 0 < start < end < 1:
        raise ConfigError(f"a schedule needs at least 2 steps and 0 < start < end < 1, not {steps} steps, {start} and {end}.")
    if name == "linear":
        return np.linspace(start, end, steps)
    if name == "scaled_linear":
        return np.linspace(math.sqrt(start), math.sqrt(end), steps) ** 2
    if name == "cosine":
        curve = np.cos((np.arange(steps + 1) / steps + 0.008) / 1.008 * np.pi / 2) ** 2
        return np.minimum(1 - curve[1:] / curve[:-1], 0.999)
    if name == "sigmoid":
        return (end - start) / (1 + np.exp(-np.linspace(-6, 6, steps))) + start
    raise ConfigError(f"unknown beta schedule '{name}'; use linear, scaled_linear, cosine or sigmoid.")


def zero_terminal_snr(betas: Float[np.ndarray, "steps"]) -> Float[np.ndarray, "steps"]:
    """The betas rescaled so that the last step leaves nothing of the clean sample (Lin et al., 2023, algorithm 1)."""
    root = np.sqrt(np.cumprod(1 - betas))
    root = (root - root[-1]) * root[0] / (root[0] - root[-1])
    squares = root**2
    return 1 - np.append(squares[:1], squares[1:] / squares[:-1])


@dataclass(frozen=True, eq=False)
class DiscreteSchedule(Schedule):
    """The variance-preserving process of DDPM, at the timesteps 0 to T - 1; between them sigma / alpha is linear in time.

    Attributes:
        betas: what each step adds.
    """

    betas: Float[np.ndarray, "steps"]
    ratios: Float[np.ndarray, "steps"] = field(init=False, repr=False)

    def __post_init__(self):
        left = np.cumprod(1 - np.asarray(self.betas, np.float64))
        with np.errstate(divide="ignore"):
            object.__setattr__(self, "ratios", np.sqrt((1 - left) / left))

    @property
    def steps(self) -> int:
        return len(self.betas)

    def levels(self, time):
        if isinstance(time, jax.Array):
            alpha, sigma = (jnp.asarray(values, jnp.float32) for values in _preserving(self.ratios))
            if jnp.issubdtype(time.dtype, jnp.integer):
                return alpha[time], sigma[time]
            places = jnp.arange(self.steps)
            return _preserving(jnp.interp(time, places, jnp.asarray(np.minimum(self.ratios, 1e30), jnp.float32)))
        time = np.asarray(time)
        if (time == np.rint(time)).all():
            return _preserving(self.ratios[np.clip(time, 0, self.steps - 1).astype(int)])
        return _preserving(np.interp(time, np.arange(self.steps), self.ratios))

    def time_of(self, ratio):
        """By interpolation of log(sigma / alpha), as k-diffusion does."""
        with np.errstate(divide="ignore"):
            return np.interp(np.log(ratio), np.log(self.ratios), np.arange(self.steps))

    def levels_at(self, ratio):
        """Exactly there, which the levels of the interpolated time are not."""
        return _preserving(ratio)


@dataclass(frozen=True)
class VariancePreserving(Schedule):
    """The VP SDE of Song et al., 2021 (equation 32 and appendix C): beta rises linearly over time in [0, 1]."""

    beta_min: float = 0.1
    beta_max: float = 20.0

    def levels(self, time):
        xp = _library(time)
        integral = self.beta_min * time + 0.5 * (self.beta_max - self.beta_min) * time**2
        return xp.exp(-0.5 * integral), xp.sqrt(-xp.expm1(-integral))

    def time_of(self, ratio):
        integral = np.log1p(np.asarray(ratio, np.float64) ** 2)
        rise = self.beta_max - self.beta_min
        return np.clip((np.sqrt(self.beta_min**2 + 2 * rise * integral) - self.beta_min) / rise, 0, 1)


@dataclass(frozen=True)
class VarianceExploding(Schedule):
    """The VE SDE of Song et al., 2021 (equation 31): nothing is lost, and sigma grows geometrically over time in [0, 1]."""

    sigma_min: float = 0.01
    sigma_max: float = 50.0

    def levels(self, time):
        xp = _library(time)
        sigma = self.sigma_min * (self.sigma_max / self.sigma_min) ** xp.asarray(time)
        return xp.ones_like(sigma), sigma

    def time_of(self, ratio):
        return np.clip(np.log(np.asarray(ratio) / self.sigma_min) / math.log(self.sigma_max / self.sigma_min), 0, 1)


@dataclass(frozen=True)
class EDM(Schedule):
    """Karras et al., 2022: nothing is lost, and the time is sigma itself."""

    def levels(self, time):
        sigma = _library(time).asarray(time)
        return _library(time).ones_like(sigma), sigma

    def time_of(self, ratio):
        return np.asarray(ratio, np.float64)


@dataclass(frozen=True)
class RectifiedFlow(Schedule):
    """A straight line from the clean sample to noise over time in [0, 1]: alpha = 1 - t, sigma = t (Liu et al., 2023; Lipman et
    al., 2023).

    Attributes:
        time_scale: the network is told `time_scale` t; 1,000 in published models.
    """

    time_scale: float = 1.0

    def levels(self, time):
        return 1 - time / self.time_scale, time / self.time_scale

    def time_of(self, ratio):
        ratio = np.asarray(ratio, np.float64)
        with np.errstate(invalid="ignore"):
            return self.time_scale * np.where(np.isinf(ratio), 1.0, ratio / (1 + ratio))


def shift_time(time: Float[Array, "..."], shift: float) -> Float[Array, "..."]:
    """Times in [0, 1] moved towards noise, for larger images (Esser et al., 2024, equation 23, with shift = sqrt(m / n))."""
    return shift * time / (1 + (shift - 1) * time)


def _library(values):
    return jnp if isinstance(values, jax.Array) else np


def _preserving(ratio: Float[Array, "..."]) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    """alpha and sigma with alpha^2 + sigma^2 = 1."""
    xp = _library(ratio)
    with np.errstate(divide="ignore"):
        return 1 / xp.hypot(1.0, ratio), 1 / xp.hypot(1.0, 1 / ratio)
