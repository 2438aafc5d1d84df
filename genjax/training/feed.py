"""Batches on their way to the devices."""

from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np

from genjax.parallel import processes
from genjax.training.setup import Plan


def prefetch(plan: Plan, dataset: Any, start: int, ahead: int = 2) -> Iterator[Mapping[str, jax.Array]]:
    """Batches on the mesh, from global batch `start`; `ahead` of them are on their way to the device."""
    index, count = processes.reader_slice(plan.mesh, plan.rules)
    queue: list[Mapping[str, jax.Array]] = []
    for local in dataset.iterate(start, index, count):
        wanted = {name: np.asarray(local[name]) for name in plan.batch}
        queue.append(processes.global_batch(wanted, plan.mesh, plan.rules))
        if len(queue) > ahead:
            yield queue.pop(0)
    yield from queue
