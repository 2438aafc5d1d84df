"""A sampler as a table, and the one loop that runs any of them.

Samplers differ in how they weigh what is at hand: the sample, what was kept of earlier steps, the network's prediction, fresh
noise. All of that is linear, so a step is a small matrix, made in float64 on the host. The loop that multiplies by them is
compiled once for each number of steps it has room for: another sampler, other steps or another schedule are other numbers.

A sampler is written with the unit vectors below, as its paper writes it: `end.alpha * CLEAN + end.sigma * NOISE` is the sample
after a step of DDIM.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import lax
from jaxtyping import Array, Float, Int, Key

from genjax.diffusion.grids import Grid, Level, forward_scale, forward_variance
from genjax.diffusion.predictions import Prediction
from genjax.errors import ConfigError

REGISTERS = 6
# What a step is made of: the sample X and what was kept (registers 1 to 5); the predicted clean sample and noise; noise from
# N(0, I) that nothing has seen.
X, KEPT1, KEPT2, KEPT3, KEPT4, KEPT5, CLEAN, NOISE, FRESH = np.eye(REGISTERS + 3)
KEPT = (KEPT1, KEPT2, KEPT3, KEPT4, KEPT5)
BUCKET = 16

Weights = Float[np.ndarray, "9"]
# The network's prediction of x, which has the noise of a time: (x, time, alpha, sigma), the last three numbers.
Denoiser = Callable[..., Prediction]
# Changes a sample of a level: (x, alpha, sigma, a function that draws noise).
Projection = Callable[[Float[Array, "batch *shape"], Float[Array, ""], Float[Array, ""], Callable[[], Array]], Array]


class Evaluation(NamedTuple):
    """One question to the network and what becomes of its answer.

    Attributes:
        level: of the sample that it sees.
        registers: the sample (first) and what is kept, afterwards; those not named are kept as they are.
        log_variances: the two log-variances between which a learned one lies; fresh noise is multiplied by its root.
        end: the level of the sample afterwards, where that is not the next evaluation's: it is brought there by more noise.
    """

    level: Level
    registers: tuple[Weights, ...]
    log_variances: tuple[float, float] = (0.0, 0.0)
    end: Level | None = None


@struct.dataclass
class Program:
    """A sampler on a grid; all arrays, so that a jitted function takes any.

    Attributes:
        matrices: what the registers become, from the registers, the clean sample, the noise and fresh noise.
        times: what the network is told.
        starts: alpha and sigma of the sample before each evaluation.
        ends: the same after it.
        renoise: by what the sample is multiplied, and how much noise is added, to bring it to the next evaluation's level.
        log_variances: see `Evaluation`.
        evaluations: how many rows are meant; the rest fills up the bucket.
    """

    matrices: Float[Array, "rows 6 9"]
    times: Float[Array, "rows"]
    starts: Float[Array, "rows 2"]
    ends: Float[Array, "rows 2"]
    renoise: Float[Array, "rows 2"]
    log_variances: Float[Array, "rows 2"]
    evaluations: Int[Array, ""]


def assemble(evaluations: Sequence[Evaluation], grid: Grid, bucket: int = BUCKET) -> Program:
    """A program of these evaluations, which end where the grid does, with rows up to a multiple of `bucket`."""
    count = len(evaluations)
    rows = -(-count // bucket) * bucket
    matrices = np.zeros((rows, REGISTERS, REGISTERS + 3))
    matrices[:, :, :REGISTERS] = np.eye(REGISTERS)
    for matrix, evaluation in zip(matrices, evaluations, strict=False):
        matrix[: len(evaluation.registers)] = evaluation.registers
    levels = [evaluation.level for evaluation in evaluations]
    following = [*levels[1:], grid.ends[-1]]
    ends = [evaluation.end or after for evaluation, after in zip(evaluations, following, strict=True)]
    back = [_way_back(end, after) for end, after in zip(ends, following, strict=True)]

    def column(values, fill):
        return np.asarray([*values, *[fill] * (rows - count)], np.float32)

    return Program(
        matrices=matrices.astype(np.float32),
        times=column([level.time for level in levels], 0.0),
        starts=column([(level.alpha, level.sigma) for level in levels], (1.0, 0.0)),
        ends=column([(level.alpha, level.sigma) for level in ends], (1.0, 0.0)),
        renoise=column(back, (1.0, 0.0)),
        log_variances=column([evaluation.log_variances for evaluation in evaluations], (0.0, 0.0)),
        evaluations=np.asarray(count, np.int32),
    )


def _way_back(end: Level, after: Level) -> tuple[float, float]:
    """What the forward process does from `end` to `after`, which has as much noise or more."""
    if end is after:
        return 1.0, 0.0
    return forward_scale(after, end), math.sqrt(forward_variance(after, end))


def check_start(name: str, grid: Grid) -> None:
    """For samplers that measure in sigma / alpha.

    Raises:
        ConfigError: the first level is pure noise.
    """
    if not grid.starts[0].alpha:
        raise ConfigError(
            f"{name} cannot start from pure noise (alpha 0, as with zero terminal SNR or rectified flow at time 1), where "
            "sigma / alpha is infinite. Use ddim, ddpm, euler_ancestral, dpm_solver or unipc, or a grid that starts below."
        )


def starting_noise(program: Program, keys: Key[Array, "batch"], shape: Sequence[int]) -> Float[Array, "batch *shape"]:
    """Pure noise of the first level."""
    return program.starts[0, 1] * jax.vmap(lambda key: jax.random.normal(jax.random.fold_in(key, 0), shape))(keys)


@struct.dataclass
class Run:
    """Where a run of a program stands.

    Attributes:
        x: the sample.
        kept: registers 1 to 5.
        film: the predicted clean samples that are given back, zeros where the run has not come yet.
        last: the clean sample that was predicted last (zeros at first), where the network is told it; else nothing.
        row: the number of the next evaluation.
    """

    x: Float[Array, "batch *shape"]
    kept: Float[Array, "5 batch *shape"]
    film: Float[Array, "frames batch *shape"]
    last: tuple[Float[Array, "batch *shape"], ...]
    row: Int[Array, ""]


def begin(x: Float[Array, "batch *shape"], *, frames: int = 0, remember: bool = False) -> Run:
    """A run before its first evaluation. Arguments as for `run`."""
    nothing = lambda *lead: jnp.zeros((*lead, *x.shape), jnp.float32)  # noqa: E731
    last = (nothing(),) if remember else ()
    return Run(x.astype(jnp.float32), nothing(REGISTERS - 1), nothing(frames), last, jnp.zeros((), jnp.int32))


def advance(
    denoise: Denoiser,
    state: Run,
    program: Program,
    keys: Key[Array, "batch"],
    steps: int | Int[Array, ""],
    *,
    fresh: Callable[[Int[Array, ""]], Float[Array, "batch *shape"]] | None = None,
    project: Projection | None = None,
) -> Run:
    """Up to `steps` (traced) more evaluations; any division into calls gives the same sample. Arguments as for `run`."""
    nothing = lambda number: jnp.zeros(state.x.shape, jnp.float32)  # noqa: E731

    def draw(number):
        return jax.vmap(lambda key: jax.random.normal(jax.random.fold_in(key, number), state.x.shape[1:]))(keys)

    program = jax.tree.map(jnp.asarray, program)
    frames = len(state.film)
    shown = (jnp.arange(1, frames + 1) * program.evaluations - 1) // max(frames, 1)

    def step(row, state):
        x, film = state.x, state.film
        found = denoise(x, program.times[row], *program.starts[row], *state.last)
        matrix = program.matrices[row]
        # Numbers of draws: 0 is the starting noise, then an evaluation has 1 + 3 row and the two after it.
        noise = lax.cond(jnp.any(matrix[:, -1] != 0), fresh or (lambda row: draw(1 + 3 * row)), nothing, row)
        if found.variance is not None:
            small, large = program.log_variances[row]
            noise = noise * jnp.exp(0.5 * (small + (large - small) * found.variance))
        parts = jnp.concatenate([jnp.stack([x]), state.kept, jnp.stack([found.clean, found.noise, noise]).astype(jnp.float32)])
        # A weight of 0 takes nothing, not even what is not finite.
        used = jnp.any(matrix != 0, axis=0).reshape((-1,) + (1,) * x.ndim)
        registers = jnp.tensordot(matrix, jnp.where(used, parts, 0), axes=1, precision=lax.Precision.HIGHEST)
        x = registers[0]
        if project is not None:
            x = project(x, *program.ends[row], lambda: draw(2 + 3 * row))
        scale, added = program.renoise[row]
        x = scale * x + added * lax.cond(added != 0, draw, nothing, 3 + 3 * row)
        if frames:
            film = jnp.where((shown == row).reshape((-1,) + (1,) * x.ndim), found.clean, film)
        return Run(x, registers[1:], film, (found.clean.astype(jnp.float32),) if state.last else (), row + 1)

    return lax.fori_loop(state.row, jnp.minimum(state.row + steps, program.evaluations), step, state)


def run(
    denoise: Denoiser,
    x: Float[Array, "batch *shape"],
    program: Program,
    keys: Key[Array, "batch"],
    *,
    fresh: Callable[[Int[Array, ""]], Float[Array, "batch *shape"]] | None = None,
    project: Projection | None = None,
    frames: int = 0,
    remember: bool = False,
) -> tuple[Float[Array, "batch *shape"], Float[Array, "frames batch *shape"]]:
    """The sample at the program's end, and pictures of the way to it.

    Args:
        x: a sample of the first level.
        keys: one for each of the batch: what it becomes does not depend on its neighbours.
        fresh: noise for an evaluation of that number, in place of what is drawn from the keys.
        project: changes the sample after each evaluation (see `editing`).
        frames: how many of the predicted clean samples are given back, evenly over the way.
        remember: `denoise` takes a fifth argument, the clean sample that it predicted before (zeros at first), for networks with
            self-conditioning (Chen et al., 2023).
    """
    state = begin(x, frames=frames, remember=remember)
    state = advance(denoise, state, program, keys, len(program.times), fresh=fresh, project=project)
    return state.x, state.film
