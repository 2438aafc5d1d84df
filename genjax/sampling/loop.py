"""The sample loop: requests to fixed-shape batches to `task.sample` to artifacts. It knows the Task contract and no family."""

import contextlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from tqdm import tqdm

from genjax.errors import RequestError
from genjax.parallel import rules as axis_rules
from genjax.parallel.compiler import compiler_options
from genjax.parallel.processes import is_main
from genjax.tasks.contract import HOST, PROGRESS, Artifact, Batch, Task, Variables

TEXT = "text"  # the entry of a piece that belongs to the piece alone
MOVES = 50  # of a bar over the steps of a batch, about


class Sampler:
    """`task.sample`, compiled once for each shape of a batch and kept.

    Every batch gets the same key: what tells its rows apart from those of other batches is in the batch.

    Args:
        task: the task.
        mesh, rules: where its variables lie; None: JAX's default device.

    Attributes:
        compilations: how often `task.sample` was traced, or `task.begin` of one whose steps are shown.
    """

    def __init__(self, task: Task, *, mesh: Mesh | None = None, rules: axis_rules.Rules | None = None):
        self.task = task
        self.compilations = 0
        self._mesh, self._rules = mesh, axis_rules.DEFAULT_RULES if rules is None else rules

        def sample(variables: Variables, batch: Batch, key: jax.Array) -> Batch:
            self.compilations += 1
            return task.sample(variables, batch, key)

        def begin(variables: Variables, batch: Batch, key: jax.Array) -> Any:
            self.compilations += 1
            return task.begin(variables, batch, key)

        # On every process, so that each can read them.
        places, options = None if mesh is None else NamedSharding(mesh, PartitionSpec()), compiler_options()
        self._sample = jax.jit(sample, out_shardings=places, compiler_options=options)
        self._begin = jax.jit(begin, compiler_options=options)
        self._advance = jax.jit(lambda *given: task.advance(*given), donate_argnums=2, compiler_options=options)
        self._finish = jax.jit(lambda *given: task.finish(*given), out_shardings=places, compiler_options=options)

    def __call__(self, variables: Variables, requests: Sequence[Any], *, seed: int = 0, progress: bool = False) -> list[Artifact]:
        """The artifacts of all requests, in order.

        Args:
            variables: as the task's training has them.
            requests: of `task.request_type`.
            seed: the same seed and requests give the same artifacts.
            progress: a bar over the steps of all batches, where the task tells them, or over the batches, with rate and remaining
                time, on standard error.

        Raises:
            RequestError: from `task.prepare`, before anything is compiled.
        """
        batches = self.task.prepare(requests)
        key = jax.random.key(seed)
        arrays = []
        totals = [self.task.sampling_steps(batch) if progress else 0 for batch in batches]
        steps = bool(totals) and all(totals)
        number, unit = (sum(totals), "step") if steps else (len(batches), "batch")
        shown = progress and is_main() and (steps or number > 1)
        with self._context(), tqdm(total=number, desc="sampling", unit=unit, disable=not shown) as bar:
            variables = self._variables(variables, batches)
            for batch, total in zip(batches, totals, strict=True):
                if steps:
                    arrays.append(self._in_steps(variables, batch, key, total, bar))
                else:
                    arrays.append(self._arrays(variables, batch, key, progress))
                    bar.update()
        return list(self.task.present(requests, arrays))

    def stream(self, variables: Variables, request: Any, *, seed: int = 0) -> Iterator[Artifact]:
        """The artifact of one request in pieces, whose texts concatenate to what a call gives.

        Raises:
            RequestError: as a call; or the request asks for several artifacts, which would come all mixed up.
        """
        batches = self.task.prepare([request])
        with self._context():
            variables = self._variables(variables, batches)
            pieces = itertools.chain.from_iterable(self.task.stream(variables, b, jax.random.key(seed)) for b in batches)
        while True:
            with self._context():  # not across a yield: the caller's code must not run inside it
                piece = next(pieces, None)
            if piece is None:
                return
            if PROGRESS in piece:
                continue
            artifacts = self.task.present([request], [piece])
            if len(batches) > 1 or len(artifacts) > 1:
                raise RequestError("only one text can be streamed at a time; ask for one sample, or add --no-stream.")
            yield from artifacts

    def _variables(self, variables: Variables, batches: Sequence[Batch]) -> Variables:
        variables = self.task.sampling_variables(variables)
        shared = self.task.shared(variables, batches)
        return {**variables, **shared} if shared else variables

    def _arrays(self, variables: Variables, batch: Batch, key: jax.Array, progress: bool) -> Mapping[str, Any]:
        if HOST not in batch:
            return jax.device_get(self._sample(variables, batch, key))
        with contextlib.ExitStack() as stack:
            bar = None
            for piece in self.task.stream(variables, batch, key):
                if PROGRESS in piece:
                    done, total = piece[PROGRESS]
                    if bar is None:
                        bar = stack.enter_context(tqdm(total=total, unit="step", disable=not (progress and is_main())))
                    bar.update(done - bar.n)
                last = piece
        return {name: value for name, value in last.items() if name != TEXT}

    def _in_steps(self, variables: Variables, batch: Batch, key: jax.Array, total: int, bar: tqdm) -> Mapping[str, Any]:
        """What `task.sample` gives, with a bar that moves on the way."""
        chunk = -(-total // MOVES)
        state = self._begin(variables, batch, key)
        for done in range(0, total, chunk):
            state = self._advance(variables, batch, state, np.int32(chunk))
            jax.block_until_ready(state)  # else the bar would run ahead
            bar.update(min(chunk, total - done))
        return jax.device_get(self._finish(variables, batch, state))

    def _context(self) -> contextlib.AbstractContextManager:
        return contextlib.nullcontext() if self._mesh is None else axis_rules.context(self._mesh, self._rules)


def sample(
    task: Task,
    variables: Variables,
    requests: Sequence[Any],
    *,
    seed: int = 0,
    mesh: Mesh | None = None,
    rules: axis_rules.Rules | None = None,
    progress: bool = False,
) -> list[Artifact]:
    """The artifacts of all requests, in order; see `Sampler`, which keeps the compiled program for a next call."""
    return Sampler(task, mesh=mesh, rules=rules)(variables, requests, seed=seed, progress=progress)
