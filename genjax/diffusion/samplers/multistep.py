"""Samplers that ask the network once a step and remember what it said."""

import math
from collections.abc import Callable
from functools import partial

import numpy as np

from genjax.diffusion.grids import Grid, Level
from genjax.diffusion.programs import KEPT, NOISE, Evaluation, Program, Weights, X, assemble, check_start
from genjax.errors import ConfigError

KEPT1, KEPT2, KEPT3, KEPT4, KEPT5 = KEPT


def lms(grid: Grid, order: int = 4) -> Program:
    """Linear multistep (Adams-Bashforth) for the probability-flow ODE in sigma / alpha (k-diffusion's `sample_lms`): the last
    `order` slopes, interpolated by a polynomial that is integrated exactly.

    Raises:
        ConfigError: an order outside 1 to 4.
    """
    check_order("lms", order, 4)
    check_start("lms", grid)
    orders = [min(number + 1, order) for number in range(len(grid))]
    return _adams(grid, orders, lambda ratio: ratio, lambda polynomial: polynomial.integ())


def deis(grid: Grid, order: int = 2) -> Program:
    """DEIS with the predicted noise interpolated over log(sigma / alpha) (Zhang and Chen, 2023, "log-rho AB").

    Raises:
        ConfigError: an order outside 1 to 3.
    """
    check_order("deis", order, 3)
    check_start("deis", grid)
    orders = [reachable_order(number, len(grid), order, bool(end.sigma)) for number, _, end in grid.steps()]
    return _adams(grid, orders, math.log, lambda polynomial: partial(_integral_over_exp, polynomial))


def plms(grid: Grid) -> Program:
    """Pseudo linear multistep (Liu et al., 2022, PNDM, equation 12), whose first step is asked twice, as in latent diffusion."""
    check_start("plms", grid)
    evaluations = []
    for number, start, end in grid.steps():
        if number == 0:
            evaluations.append(Evaluation(start, (on_path(X, NOISE, start, end), NOISE, X)))
            evaluations.append(Evaluation(end, (on_path(KEPT2, (NOISE + KEPT1) / 2, start, end), KEPT1, np.zeros_like(X))))
        else:
            mixed = _adams_bashforth((NOISE, KEPT1, KEPT2, KEPT3)[: min(number + 1, 4)])
            evaluations.append(Evaluation(start, (on_path(X, mixed, start, end), NOISE, KEPT1, KEPT2)))
    return assemble(evaluations, grid)


def pndm(grid: Grid) -> Program:
    """PLMS after three steps of pseudo Runge-Kutta (Liu et al., 2022, algorithm 2), four questions each.

    Raises:
        ConfigError: the grid has fewer than 4 steps.
    """
    if len(grid) < 4:
        raise ConfigError(f"pndm needs at least 4 steps, not {len(grid)}: three go to its beginning; use plms.")
    check_start("pndm", grid)
    evaluations, keep = [], (KEPT1, KEPT2, KEPT3)
    for _, start, end in list(grid.steps())[:3]:
        middle = _between(grid, start, end)
        origin, mixed = KEPT4, KEPT5
        evaluations += [
            Evaluation(start, (on_path(X, NOISE, start, middle), NOISE, KEPT1, KEPT2, X, NOISE / 6)),
            Evaluation(middle, (on_path(origin, NOISE, start, middle), *keep, origin, mixed + NOISE / 3)),
            Evaluation(middle, (on_path(origin, NOISE, start, end), *keep, origin, mixed + NOISE / 3)),
            Evaluation(end, (on_path(origin, mixed + NOISE / 6, start, end),)),
        ]
    for _, start, end in list(grid.steps())[3:]:
        mixed = _adams_bashforth((NOISE, KEPT1, KEPT2, KEPT3))
        evaluations.append(Evaluation(start, (on_path(X, mixed, start, end), NOISE, KEPT1, KEPT2)))
    return assemble(evaluations, grid)


def on_path(origin: Weights, noise: Weights, start: Level, end: Level) -> Weights:
    """`origin` at `start`, brought to `end` by DDIM with that noise in it."""
    return end.alpha / start.alpha * origin + (end.sigma - end.alpha * start.ratio) * noise


def lagrange(nodes: list[float], which: int) -> np.polynomial.Polynomial:
    """The polynomial that is 1 at nodes[which] and 0 at the others."""
    polynomial = np.polynomial.Polynomial([1.0])
    for k, node in enumerate(nodes):
        if k != which:
            polynomial = polynomial * np.polynomial.Polynomial([-node, 1.0]) / (nodes[which] - node)
    return polynomial


def _adams(
    grid: Grid,
    orders: list[int],
    place: Callable[[float], float],
    antiderivative: Callable[[np.polynomial.Polynomial], Callable[[float], float]],
) -> Program:
    """The last slopes, as many as `orders` says of each step, interpolated by a polynomial in `place` of sigma / alpha, whose
    integral over sigma / alpha is the difference of its `antiderivative`."""
    evaluations = []
    for (number, start, end), order in zip(grid.steps(), orders, strict=True):
        slopes = (NOISE, *KEPT)[:order]
        nodes = [place(grid.starts[number - k].ratio) for k in range(order)]
        x = X / start.alpha
        for k, slope in enumerate(slopes):
            integral = antiderivative(lagrange(nodes, k))
            x = x + (integral(end.ratio) - integral(start.ratio)) * slope
        evaluations.append(Evaluation(start, (end.alpha * x, NOISE, KEPT1, KEPT2)))
    return assemble(evaluations, grid)


def _adams_bashforth(slopes: tuple[Weights, ...]) -> Weights:
    """For even steps: of one to four slopes, the newest first."""
    weights = {1: (1,), 2: (3 / 2, -1 / 2), 3: (23 / 12, -16 / 12, 5 / 12), 4: (55 / 24, -59 / 24, 37 / 24, -9 / 24)}
    return sum(weight * slope for weight, slope in zip(weights[len(slopes)], slopes, strict=True))


def _between(grid: Grid, start: Level, end: Level) -> Level:
    """The level at the time in the middle."""
    time = start.time - (start.time - end.time) // 2
    alpha, sigma = grid.schedule.levels(np.asarray(time))
    return Level(float(time), float(alpha), float(sigma))


def _integral_over_exp(polynomial: np.polynomial.Polynomial, value: float) -> float:
    """The antiderivative of p(log r) over r, at `value`: r (p - p' + p'' - ...) at log r; 0 at 0."""
    if not value:
        return 0.0
    total, sign, term = 0.0, 1.0, polynomial
    while True:
        total += sign * term(math.log(value))
        if term.degree() == 0:
            return value * total
        sign, term = -sign, term.deriv()


def reachable_order(number: int, steps: int, order: int, more_noise: bool) -> int:
    """What order a step can have: as many predictions as there are, and 1 into the clean sample; with fewer than 15 steps, the
    last two are of order 2 and 1 (Lu et al., 2022, DPM-Solver++, section 5.3)."""
    allowed = min(number + 1, order)
    if not more_noise:
        return 1
    return min(allowed, steps - number) if steps < 15 else allowed


def check_order(name: str, order: int, most: int) -> None:
    if not 1 <= order <= most:
        raise ConfigError(f"{name} has orders 1 to {most}, not {order}.")
