"""Exponential integrators over lambda = log(alpha / sigma): DPM-Solver, DPM-Solver++ and UniPC.

The ODE (or the SDE) is linear in the sample but for the network's prediction, which is expanded in lambda and integrated
exactly. Data prediction expands the clean sample, noise prediction the noise.
"""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from genjax.diffusion.grids import Grid, Level
from genjax.diffusion.programs import CLEAN, FRESH, KEPT, NOISE, Evaluation, Program, Weights, X, assemble, check_start
from genjax.diffusion.samplers.multistep import check_order, reachable_order

Expanded = Literal["data", "noise"]
KEPT1, KEPT2, KEPT3, KEPT4, _ = KEPT


def dpm_solver(
    grid: Grid, order: int = 2, expand: Expanded = "data", stochastic: bool = False, form: str = "midpoint"
) -> Program:
    """Multistep DPM-Solver++ (Lu et al., 2022, algorithm 2: "2M", with order 3 "3M"), or DPM-Solver with `expand="noise"`.

    Order 3 weighs the second derivative as the authors' code and k-diffusion do, by half of what Taylor's formula says: it is
    more exact than order 2, and like it of second order.

    Args:
        stochastic: for the reverse SDE, "SDE-DPM-Solver++".
        form: of the second order: "midpoint" or "heun" (there, appendix B.4; they differ in higher orders of the step).

    Raises:
        ConfigError: an order outside 1 to 3.
    """
    found = _expanded("dpm_solver", grid, order, expand)
    evaluations = []
    for number, start, end in grid.steps():
        now = reachable_order(number, len(grid), order, bool(end.sigma))
        x = end.alpha * CLEAN
        if end.sigma:
            known = [level.log_snr for level in _last(grid, number, now)]
            terms = _differences((found, KEPT1, KEPT2)[:now], known, end.log_snr)
            x = _expansion(expand, stochastic, start, end).combine(X, terms, form if now == 2 else "exact")
        evaluations.append(Evaluation(start, (x, found, KEPT1)))
    return assemble(evaluations, grid)


def dpm_solver_singlestep(
    grid: Grid, order: int = 2, expand: Expanded = "data", stochastic: bool = False, form: str = "midpoint"
) -> Program:
    """Singlestep DPM-Solver++ ("2S", with order 3 "3S"; Lu et al., 2022, algorithm 1): steps of the grid are taken in twos or
    threes, each group from where its first one began. Groups at the end are shorter.

    Raises:
        ConfigError: an order outside 1 to 3.
    """
    found = _expanded("dpm_solver_singlestep", grid, order, expand)
    evaluations = []
    for (number, start, end), stage in zip(grid.steps(), _stages(len(grid), order, bool(grid.ends[-1].sigma)), strict=True):
        began = grid.starts[number - stage + 1]
        origin = X if stage == 1 else KEPT1
        x = end.alpha * CLEAN
        if end.sigma:
            known = (found, KEPT2, KEPT3)[:stage][::-1]  # from where the group began
            places = [level.log_snr for level in _last(grid, number, stage)][::-1]
            expansion = _expansion(expand, stochastic, began, end)
            x = expansion.combine(origin, _stage_differences(known, places, end.log_snr, form), form if stage == 2 else "exact")
        evaluations.append(Evaluation(start, (x, origin, found, KEPT2)))
    return assemble(evaluations, grid)


def unipc(grid: Grid, order: int = 2, expand: Expanded = "data", form: Literal["bh1", "bh2"] = "bh2") -> Program:
    """UniPC (Zhao et al., 2023, algorithms 5 to 8): each sample is corrected by what the network says there, then goes on.

    Args:
        form: B(h), h or exp(h) - 1.

    Raises:
        ConfigError: an order outside 1 to 3.
    """
    found = _expanded("unipc", grid, order, expand)
    history = (KEPT2, KEPT3, KEPT4)
    evaluations, before = [], 0
    for number, start, end in grid.steps():
        now = min(order, len(grid) - number, number + 1)
        x = X
        if number:
            came = grid.starts[number - 1]
            known = [level.log_snr for level in _last(grid, number - 1, before)]
            x = _unified(expand, form, came, start, KEPT1, history[:before], known, found)
        known = [level.log_snr for level in _last(grid, number, now)]
        ahead = _unified(expand, form, start, end, x, (found, *history)[:now], known, None) if end.sigma else end.alpha * CLEAN
        evaluations.append(Evaluation(start, (ahead, x, found, KEPT2, KEPT3)))
        before = now
    return assemble(evaluations, grid)


def _expanded(name: str, grid: Grid, order: int, expand: Expanded) -> Weights:
    """What is expanded, once order and grid were found to allow it."""
    check_order(name, order, 3)
    if expand == "data":
        return CLEAN
    check_start(f"{name} of the noise", grid)
    return NOISE


class _Expansion(NamedTuple):
    """x at the end = base x - scale (phi_1 D0 + phi_2 D1 + phi_3 D2) + std noise, with D the derivatives over lambda."""

    base: float
    scale: float
    exponent: float
    step: float
    std: float

    def combine(self, x: Weights, terms: Sequence[Weights], form: str) -> Weights:
        """`form`: "midpoint" takes half of phi_1 for phi_2."""
        h = self.exponent
        phi1 = math.expm1(h)
        total = phi1 * terms[0]
        if len(terms) > 1:
            total = total + (phi1 / 2 if form == "midpoint" else phi1 / h - 1) * terms[1]
        if len(terms) > 2:
            total = total + ((phi1 - h) / h**2 - 0.5) * terms[2]
        return self.base * x - self.scale * total + self.std * FRESH


def _expansion(expand: Expanded, stochastic: bool, start: Level, end: Level) -> _Expansion:
    h = end.log_snr - start.log_snr
    if expand == "data":
        damped = math.exp(-h) if stochastic else 1.0
        std = end.sigma * math.sqrt(-math.expm1(-2 * h)) if stochastic else 0.0
        return _Expansion(end.sigma / start.sigma * damped, end.alpha, -2 * h if stochastic else -h, h, std)
    std = end.sigma * math.sqrt(math.expm1(2 * h)) if stochastic else 0.0
    return _Expansion(end.alpha / start.alpha, end.sigma * (2 if stochastic else 1), h, h, std)


def _differences(known: Sequence[Weights], places: Sequence[float], end: float) -> list[Weights]:
    """The newest of `known` and its derivatives, scaled as a multistep solver of DPM takes them; places are lambdas."""
    h = end - places[0]
    if len(known) == 1:
        return [known[0]]
    r0 = (places[0] - places[1]) / h
    first = (known[0] - known[1]) / r0
    if len(known) == 2:
        return [known[0], first]
    r1 = (places[1] - places[2]) / h
    second = (known[1] - known[2]) / r1
    return [known[0], first + r0 / (r0 + r1) * (first - second), (first - second) / (r0 + r1)]


def _stage_differences(known: Sequence[Weights], places: Sequence[float], end: float, form: str) -> list[Weights]:
    """The first of `known` and its derivatives, as a singlestep solver of DPM takes them; the oldest comes first."""
    ratios = [(place - places[0]) / (end - places[0]) for place in places[1:]]
    slopes = [(value - known[0]) / ratio for value, ratio in zip(known[1:], ratios, strict=True)]
    if len(slopes) < 2:
        return [known[0], *slopes]
    (first, second), (near, far) = slopes, ratios
    if form == "midpoint":
        return [known[0], second]
    return [known[0], (far * first - near * second) / (far - near), 2 * (second - first) / (far - near)]


def _unified(
    expand: Expanded,
    form: str,
    start: Level,
    end: Level,
    x: Weights,
    known: Sequence[Weights],
    places: Sequence[float],
    there: Weights | None,
) -> Weights:
    """UniP, or UniC where `there` is the prediction at the end. `known[0]` is the one at the start."""
    expansion = _expansion(expand, False, start, end)
    h = expansion.exponent
    phi1 = math.expm1(h)
    scale = h if form == "bh1" else phi1
    ratios = [(place - places[0]) / expansion.step for place in places[1:]]
    slopes = [(value - known[0]) / ratio for value, ratio in zip(known[1:], ratios, strict=True)]
    if there is not None:
        ratios, slopes = [*ratios, 1.0], [*slopes, there - known[0]]
    x = expansion.base * x - expansion.scale * phi1 * known[0]
    if not slopes:
        return x
    if len(slopes) == 1:  # the paper's simpler form, of the same order
        weights = np.asarray([0.5])
    else:
        phi, right = phi1 / h - 1, []
        for k in range(1, len(slopes) + 1):
            right.append(phi * math.factorial(k) / scale)
            phi = phi / h - 1 / math.factorial(k + 1)
        weights = np.linalg.solve(np.vander(ratios, increasing=True).T, right)
    return x - expansion.scale * scale * sum(weight * slope for weight, slope in zip(weights, slopes, strict=True))


def _last(grid: Grid, number: int, count: int) -> tuple[Level, ...]:
    """The starts of step `number` and those before it, `count` in all."""
    return grid.starts[number - count + 1 : number + 1][::-1]


def _stages(steps: int, order: int, more_noise: bool) -> list[int]:
    """The place of each step in its group; the last steps are of lower order."""
    whole = list(range(1, order + 1))
    if order == 1:
        return [1] * steps
    groups, rest = divmod(steps, order)
    if rest == 0:
        stages = whole * (groups - 1) + ([1, 2, 1] if order == 3 else [1, 1])
    else:
        stages = whole * groups + whole[:rest]
    return stages if more_noise else [*stages[:-1], 1]
