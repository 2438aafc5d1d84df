"""What a run shows of itself on the way: figures of held-out data, samples, and figures of samples. Nothing here moves its
state."""

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from genjax import sampling
from genjax.errors import ConfigError, GenjaxError
from genjax.parallel import processes
from genjax.parallel.compiler import compiler_options
from genjax.sampling.measuring import Measuring
from genjax.training.feed import prefetch
from genjax.training.metrics import DEVIATION, HELD_OUT, SAMPLES, MetricsWriter
from genjax.training.setup import Plan
from genjax.training.state import TrainState, merge


class Evaluation:
    """The three ways of looking at a state. All use the first average of its variables where there is one.

    Args:
        plan: of the run.
        path: the run directory.
        measuring: what `measure` measures with; None: it is not called.
        say: receives lines for people.

    Attributes:
        last: figures of held-out data that were found last.
    """

    def __init__(self, plan: Plan, path: Path, measuring: Measuring | None, say: Callable[[str], None]):
        self.plan, self.path, self.measuring, self.say = plan, path, measuring, say
        self.last: dict[str, float] = {}
        self._evaluate = jax.jit(self._evaluate_batch, compiler_options=compiler_options())
        self._sampler = sampling.Sampler(plan.task, mesh=plan.mesh, rules=plan.rules)

    def evaluate(self, step: int, state: TrainState, writer: MetricsWriter) -> None:
        data, limit = self.plan.datasets.evaluation, self.plan.config.train.eval_batches
        if data is None:
            return
        count = min(limit or data.num_batches, data.num_batches)
        variables, totals = self._averaged(state), None
        for index, batch in zip(range(count), prefetch(self.plan, data, 0), strict=False):
            key = jax.random.fold_in(jax.random.key(self.plan.config.seed), index)
            totals = self._evaluate(variables, batch, key, totals)
        values = self.plan.task.summarize(averages(jax.device_get(totals or {})))
        self.last = {f"{HELD_OUT}/{name}": value for name, value in values.items()}
        writer.write(step, self.last)
        if values:
            self.say(f"step {step:,}: held out {_listed(values)}")

    def sample(self, step: int, state: TrainState) -> None:
        data = self.plan.datasets.evaluation
        requests = self.plan.task.requests_of_data(functools.partial(data.batch, 0)) if data else ()
        requests = requests or self.plan.task.example_requests()
        if not requests:
            return
        artifacts = self._sampler(self._averaged(state), requests, seed=self.plan.config.seed)
        if processes.is_main():
            sampling.write(artifacts, self.path / "samples" / f"step_{step:08d}", overwrite=True)
            self.say(f"step {step:,}: " + sampling.preview(artifacts))

    def measure(self, step: int, state: TrainState, writer: MetricsWriter) -> None:
        found = self.measuring(self._sampler, self._averaged(state))
        writer.write(step, {f"{SAMPLES}/{name}": value for name, value in found.figures.items()})
        shown = {name.rpartition("/")[2]: v for name, v in found.figures.items() if not name.endswith(DEVIATION)}
        self.say(f"step {step:,}: {len(found.artifacts):,} samples have {_listed(shown)}")

    def _averaged(self, state: TrainState):
        names = self.plan.config.ema.names
        return merge(state.variables, state.ema[names[0]]) if names else state.variables

    def _evaluate_batch(self, variables, batch, key, totals):
        metrics = self.plan.task.evaluate(variables, batch, key)
        return metrics if totals is None else jax.tree.map(lambda a, b: a + b, totals, dict(metrics))


def make_measuring(plan: Plan, path: Path) -> Measuring | None:
    """What the config asks to measure samples with; None: nothing, `train.measure_every` being 0.

    Raises:
        ConfigError: samples cannot be measured, or not by what the config names.
    """
    if not plan.config.train.measure_every:
        return None
    where = f"train.measure_every is {plan.config.train.measure_every}, but samples cannot be measured as config.measure says"
    run = {"data": plan.config.data, "seed": plan.config.seed}
    report = functools.partial(print, flush=True) if processes.is_main() else lambda _: None
    try:
        measuring = Measuring(plan.config.measure, plan.task, run, path, mesh=plan.mesh, report=report)
    except GenjaxError as error:
        raise ConfigError(f"{where}: {error}") from error
    if measuring.idle:
        raise ConfigError(f"{where}: it names nothing to measure with; set its features, inception or judge.")
    return measuring


def averages(totals: Mapping[str, tuple[Any, Any]]) -> dict[str, Any]:
    """total / weight of each metric that has weight: a number, or an array where the total is one."""
    found = {name: total / float(weight) for name, (total, weight) in sorted(totals.items()) if float(weight) > 0}
    return {name: value if np.ndim(value) else float(value) for name, value in found.items()}


def _listed(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in values.items())
