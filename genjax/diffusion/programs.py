"""A sampler as a table, and the one loop that runs any of them.

Samplers differ in how they weigh what is at hand: the sample, what was kept of earlier steps, the network's prediction, fresh
noise. All of that is linear, so a step is a small matrix, made in float64 on the host. The loop that multiplies by them is
compiled once for each number of steps it has room for: another sampler, other steps or another schedule are other numbers.

A sampler is written with the unit vectors below, as its paper writes it: `end.alpha * CLEAN + end.sigma * NOISE` is the sample
after a step of DDIM.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import lax
from jaxtyping import Array, Float, Int, Key

from genjax.diffusion.grids import Grid, Level
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
Denoiser = Callable[[Float[Array, "batch *shape"], Float[Array, ""], Float[Array, ""], Float[Array, ""]], Prediction]


class Evaluation(NamedTuple):
    """One question to the network and what becomes of its answer.

    Attributes:
        level: of the sample that it sees.
        registers: the sample (first) and what is kept, afterwards; those not named are kept as they are.
        log_variances: the two log-variances between which a learned one lies; fresh noise is multiplied by its root.
    """

    level: Level
    registers: tuple[Weights, ...]
    log_variances: tuple[float, float] = (0.0, 0.0)


@struct.dataclass
class Program:
    """A sampler on a grid; all arrays, so that a jitted function takes any.

    Attributes:
        matrices: what the registers become, from the registers, the clean sample, the noise and fresh noise.
        times: what the network is told.
        alphas, sigmas: levels of the sample before each evaluation and after the last.
        log_variances: see `Evaluation`.
        evaluations: how many rows are meant; the rest fills up the bucket.
    """

    matrices: Float[Array, "rows 6 9"]
    times: Float[Array, "rows"]
    alphas: Float[Array, "rows+1"]
    sigmas: Float[Array, "rows+1"]
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
    end = grid.ends[-1]

    def column(values, fill, length=rows):
        return np.asarray([*values, *[fill] * (length - len(values))], np.float32)

    return Program(
        matrices=matrices.astype(np.float32),
        times=column([level.time for level in levels], 0.0),
        alphas=column([level.alpha for level in levels], end.alpha, rows + 1),
        sigmas=column([level.sigma for level in levels], end.sigma, rows + 1),
        log_variances=np.concatenate(
            [
                np.asarray([e.log_variances for e in evaluations], np.float32).reshape(-1, 2),
                np.zeros((rows - count, 2), np.float32),
            ]
        ),
        evaluations=np.asarray(count, np.int32),
    )


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
    return program.sigmas[0] * jax.vmap(lambda key: jax.random.normal(jax.random.fold_in(key, 0), shape))(keys)


def run(
    denoise: Denoiser,
    x: Float[Array, "batch *shape"],
    program: Program,
    keys: Key[Array, "batch"],
    *,
    fresh: Callable[[Int[Array, ""]], Float[Array, "batch *shape"]] | None = None,
    project: Callable[[Float[Array, "batch *shape"], Float[Array, ""], Float[Array, ""], Int[Array, ""]], Array] | None = None,
    frames: int = 0,
) -> tuple[Float[Array, "batch *shape"], Float[Array, "frames batch *shape"]]:
    """The sample at the program's end, and pictures of the way to it.

    Args:
        x: a sample of the first level.
        keys: one for each of the batch: what it becomes does not depend on its neighbours.
        fresh: noise for an evaluation of that number, in place of what is drawn from the keys.
        project: changes the sample after each evaluation: (x, alpha, sigma, number of the evaluation).
        frames: how many of the predicted clean samples are given back, evenly over the way.
    """
    kept = jnp.zeros((REGISTERS - 1, *x.shape), jnp.float32)
    draw = fresh or (lambda row: jax.vmap(lambda key: jax.random.normal(jax.random.fold_in(key, row + 1), x.shape[1:]))(keys))
    program = jax.tree.map(jnp.asarray, program)
    shown = (jnp.arange(1, frames + 1) * program.evaluations - 1) // max(frames, 1)

    def step(row, state):
        x, kept, film = state
        found = denoise(x, program.times[row], program.alphas[row], program.sigmas[row])
        matrix = program.matrices[row]
        noise = lax.cond(jnp.any(matrix[:, -1] != 0), draw, lambda row: jnp.zeros(x.shape), row)
        if found.variance is not None:
            small, large = program.log_variances[row]
            noise = noise * jnp.exp(0.5 * (small + (large - small) * found.variance))
        parts = jnp.concatenate([jnp.stack([x]), kept, jnp.stack([found.clean, found.noise, noise]).astype(jnp.float32)])
        # A weight of 0 takes nothing, not even what is not finite.
        used = jnp.any(matrix != 0, axis=0).reshape((-1,) + (1,) * x.ndim)
        registers = jnp.tensordot(matrix, jnp.where(used, parts, 0), axes=1, precision=lax.Precision.HIGHEST)
        x = registers[0]
        if project is not None:
            x = project(x, program.alphas[row + 1], program.sigmas[row + 1], row)
        if frames:
            film = jnp.where((shown == row).reshape((-1,) + (1,) * x.ndim), found.clean, film)
        return x, registers[1:], film

    film = jnp.zeros((frames, *x.shape), jnp.float32)
    x, _, film = lax.fori_loop(0, program.evaluations, step, (x.astype(jnp.float32), kept, film))
    return x, film
