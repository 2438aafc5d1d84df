"""Defaults of the Task contract, for families that need nothing special."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax

from genjax.errors import ConfigError, RequestError
from genjax.tasks.contract import Artifact, AttentionMap, Batch, Metrics, Variables

_ALL_STEPS = 1 << 30


class BaseTask:
    """Inherit, then define batch_spec, turns, init and whatever else the family offers."""

    units_per_step: tuple[str, int] = ("examples", 0)
    flops_per_step: float = 0.0
    request_type: type | None = None
    makes: str = "text"
    notes: tuple[str, ...] = ()

    def flops_at(self, step: int) -> float:
        return self.flops_per_step

    def evaluate(self, variables: Variables, batch: Batch, key: jax.Array) -> Metrics:
        return {}

    def summarize(self, metrics: Mapping[str, float]) -> Mapping[str, float]:
        return metrics

    def pretrained(self, folder: str, shardings: Variables) -> Variables:
        raise ConfigError(f"train.init_from: {type(self).__name__} does not start from published weights.")

    def adopt(self, runs: Mapping[str, Variables]) -> Variables:
        return {}

    def export(self, folder: str, variables: Variables, **settings: Any) -> None:
        raise ConfigError(f"{type(self).__name__} has no published format to export to.")

    def example_requests(self) -> Sequence[Any]:
        return ()

    def requests_of_data(self, first: Callable[[], Batch]) -> Sequence[Any]:
        return ()

    def sampling_variables(self, variables: Variables) -> Variables:
        return variables

    def shared(self, variables: Variables, batches: Sequence[Batch]) -> Variables:
        return {}

    def prepare(self, requests: Sequence[Any]) -> Sequence[Batch]:
        raise RequestError(f"{type(self).__name__} does not sample.")

    def sampling_steps(self, batch: Batch) -> int:
        return 0

    def stream(self, variables: Variables, batch: Batch, key: jax.Array) -> Iterator[Batch]:
        yield self.sample(variables, batch, key)

    def present(self, requests: Sequence[Any], arrays: Sequence[Batch]) -> Sequence[Artifact]:
        return ()

    def attention(self, variables: Variables, request: Any) -> Sequence[AttentionMap]:
        raise RequestError(f"{type(self).__name__} does not show its attention; leave --attention out.")


class StepwiseSampling:
    """`sample` of families that draw in steps: inherit it, then define sampling_steps, begin, advance and finish."""

    def sample(self, variables: Variables, batch: Batch, key: jax.Array) -> Batch:
        state = self.begin(variables, batch, key)
        return self.finish(variables, batch, self.advance(variables, batch, state, _ALL_STEPS))
