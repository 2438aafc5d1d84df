"""The noise levels that a sampler goes through, from noise to clean."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float

from genjax.diffusion.schedules import DiscreteSchedule, Schedule
from genjax.errors import ConfigError

Spacing = Literal["linspace", "leading", "trailing"]


class Level(NamedTuple):
    time: float
    alpha: float
    sigma: float

    @property
    def ratio(self) -> float:
        """sigma / alpha: the noise level of the sample before it was scaled."""
        return self.sigma / self.alpha if self.alpha else np.inf

    @property
    def log_snr(self) -> float:
        """lambda = log(alpha / sigma), the half of the log signal-to-noise ratio (Lu et al., 2022)."""
        with np.errstate(divide="ignore"):
            return float(np.log(self.alpha) - np.log(self.sigma))


@dataclass(frozen=True, eq=False)
class Grid:
    """Levels at which the network is asked, and where each step ends.

    Attributes:
        schedule: tells levels between those of the grid.
        starts: of each step.
        ends: of each step; the next one's start, but for `stride` (see `discrete_grid`).
    """

    schedule: Schedule
    starts: tuple[Level, ...]
    ends: tuple[Level, ...]

    def __len__(self) -> int:
        return len(self.starts)

    def steps(self) -> Iterator[tuple[int, Level, Level]]:
        yield from zip(range(len(self)), self.starts, self.ends, strict=True)

    def level_at(self, ratio: float) -> Level:
        """The level where sigma / alpha is `ratio`."""
        alpha, sigma = self.schedule.levels_at(np.asarray(ratio))
        return Level(float(self.schedule.time_of(np.asarray(ratio))), float(alpha), float(sigma))

    def after(self, strength: float) -> "Grid":
        """The last steps, about `strength` in (0, 1] of all: what image-to-image goes through (SDEdit; Meng et al., 2022).

        Raises:
            ConfigError: the strength is outside of its range.
        """
        if not 0 < strength <= 1:
            raise ConfigError(f"strength is {strength}; it must be above 0 (the image as it is) and at most 1 (all noise).")
        first = len(self) - max(1, min(len(self), round(len(self) * strength)))
        return replace(self, starts=self.starts[first:], ends=self.ends[first:])

    def reversed(self) -> "Grid":
        """From clean to noise, for inversion: each step backwards."""
        return replace(self, starts=self.ends[::-1], ends=self.starts[::-1])


def forward_scale(start: Level, end: Level) -> float:
    """By what the forward process multiplies a sample of `end`, the cleaner one, on its way to `start`."""
    return start.alpha / end.alpha


def forward_variance(start: Level, end: Level) -> float:
    """Of the noise that it adds on that way."""
    return max(start.sigma**2 - (forward_scale(start, end) * end.sigma) ** 2, 0.0)


def spaced_timesteps(
    spacing: Spacing, total: int, steps: int, *, offset: int = 0, without_end: bool = False, whole: bool = True
) -> Float[np.ndarray, "steps"]:
    """Timesteps of 0 to total - 1, falling (Lin et al., 2023, table 2).

    linspace: from the last one to 0 evenly. leading: multiples of total // steps, plus `offset`. trailing: from the last one down
    in equal strides.

    Args:
        without_end: linspace and leading lay out one more, whose last is left out: solvers of higher order end at the clean
            sample, which lies beyond 0.
        whole: rounded to whole timesteps (leading ones and trailing ones always are).

    Raises:
        ConfigError: more steps than there are, or none.
    """
    points = steps + without_end
    if not 1 <= steps or (points > total):
        raise ConfigError(
            f"{steps} steps were asked for; the model was trained with {total} timesteps; ask for 1 to {total - without_end}."
        )
    if spacing == "linspace":
        times = np.linspace(0, total - 1, points)
        times = np.rint(times) if whole else times
    elif spacing == "leading":
        times = np.arange(points) * float(total // points) + offset
    elif spacing == "trailing":
        return np.rint(np.arange(total, 0, -total / steps))[:steps] - 1
    else:
        raise ConfigError(f"unknown timestep spacing '{spacing}'; use linspace, leading or trailing.")
    return times[::-1][:steps]


def discrete_grid(
    schedule: DiscreteSchedule,
    timesteps: Float[np.ndarray, "steps"],
    *,
    end: Literal["clean", "first"] = "clean",
    stride: int | None = None,
) -> Grid:
    """The levels at falling timesteps of a discrete schedule.

    Args:
        end: where the last step leads: to the clean sample, or to the level of timestep 0.
        stride: each step ends so many timesteps before it started, wherever the next one starts (diffusers' DDPM, DDIM and PNDM,
            whatever the spacing); None: where the next one starts.
    """
    last = Level(0.0, 1.0, 0.0) if end == "clean" else _level(schedule, 0.0)
    starts = tuple(_level(schedule, time) for time in timesteps)
    if stride is None:
        return Grid(schedule, starts, (*starts[1:], last))
    return Grid(schedule, starts, tuple(_level(schedule, t - stride) if t >= stride else last for t in timesteps))


def ratio_grid(
    schedule: Schedule,
    ratios: Float[np.ndarray, "steps"],
    *,
    end: Literal["clean", "last"] = "clean",
    whole: bool = False,
) -> Grid:
    """The levels at falling sigma / alpha, as `karras_ratios` and its like make them.

    Args:
        end: "last" leaves the lowest of the ratios as the end of the last step, where "clean" goes on to the clean sample.
        whole: the network is told whole timesteps.
    """
    times = schedule.time_of(ratios)
    times = np.rint(times) if whole else times
    levels = tuple(Level(*map(float, row)) for row in zip(times, *schedule.levels_at(ratios), strict=True))
    levels = (*levels, Level(0.0, 1.0, 0.0)) if end == "clean" else levels
    return Grid(schedule, levels[:-1], levels[1:])


def time_grid(schedule: Schedule, times: Float[np.ndarray, "points"]) -> Grid:
    """The levels at falling times, the last of which is where the last step ends."""
    levels = tuple(_level(schedule, time) for time in times)
    return Grid(schedule, levels[:-1], levels[1:])


def karras_ratios(steps: int, lowest: float, highest: float, rho: float = 7.0) -> Float[np.ndarray, "steps"]:
    """Karras et al., 2022, equation 5, without the last zero."""
    ends = highest ** (1 / rho), lowest ** (1 / rho)
    return np.linspace(*ends, steps) ** rho


def exponential_ratios(steps: int, lowest: float, highest: float) -> Float[np.ndarray, "steps"]:
    """Evenly in the logarithm."""
    return np.geomspace(highest, lowest, steps)


def _level(schedule: Schedule, time: float) -> Level:
    alpha, sigma = schedule.levels(np.asarray(time, np.float64))
    return Level(float(time), float(alpha), float(sigma))
