"""The train step of a plan as one unit of work, for our sides of the benchmarks."""

import time
from collections.abc import Callable, Mapping, Sequence

import jax
import numpy as np

from genjax.training.setup import Plan
from genjax.training.step import Part


def compiled_step(
    plan: Plan, batch: Mapping[str, np.ndarray], parts: Sequence[Part | None] = (None,)
) -> tuple[Callable[[], None], float]:
    """A step on the same batch each time, from a fresh state; and the seconds that it took to compile.

    Args:
        parts: of the step, in order; None: all in one.
    """
    began = time.perf_counter()
    compiled = [plan.lower_step(part).compile() for part in parts]
    seconds = time.perf_counter() - began
    placed = jax.tree.map(lambda x, s: jax.device_put(x, s.sharding), dict(batch), dict(plan.batch))
    carry = [plan.fresh_state(), plan.fresh_totals()]

    def step() -> None:
        with plan.context():
            for part in compiled:
                carry[:] = part(*carry, placed)
        jax.block_until_ready(carry)

    return step, seconds
