"""The Task contract: what a family gives to the one train loop and the one sample loop.

A run has named *components*, each a Flax variables tree (`{"params": ..., "batch_stats": ...}`). A training step is one or
more *turns*; a turn names the part of the components that it trains and its loss. Everything here is pure: no files, no
clocks, no global state. `training/` and `sampling/` know this file, never a family.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Float, UInt8

Variables = Mapping[str, Any]  # {component: {collection: tree of arrays}}
Batch = Mapping[str, Any]  # {name: array}, the leading axis is the batch
# {name: (total, weight)}: both add up over batches and devices. A total of `evaluate` may be an array, of which `summarize` then
# makes numbers.
Metrics = Mapping[str, tuple[jax.Array, jax.Array]]

HOST = "host"  # the entry of a batch that only the host reads: such a batch goes through `stream`
PROGRESS = "progress"  # the entry of a piece of `stream` that tells (steps done, of how many)


@struct.dataclass
class Aux:
    """What a loss returns beside its value.

    Attributes:
        weight: scalar, the number of tokens or examples that the loss is a mean over. Losses of microbatches and devices
            are combined in proportion to it, so that gradient accumulation equals the full batch.
        metrics: `{name: (total, weight)}`; the loop reports total / weight.
        collections: new values of moving statistics, `{component: {collection: tree}}` (BatchNorm, codebook EMA, image pool);
            they replace those of the state, and a following microbatch or turn sees them.
    """

    weight: Any
    metrics: Any = field(default_factory=dict)
    collections: Any = field(default_factory=dict)


def mean_of(value: Float[jax.Array, ""], count: int) -> tuple[jax.Array, jax.Array]:
    """A mean over `count` tokens or examples as an entry of `Metrics`."""
    return value * count, jnp.asarray(count, jnp.float32)


Loss = Callable[[Variables, Batch, jax.Array], tuple[jax.Array, Aux]]


@dataclass(frozen=True)
class Turn:
    """One optimization move within a training step.

    Attributes:
        name: its own among the turns of the task.
        trains: path patterns over `component/collection/module/.../leaf` (fnmatch, `*` also crosses `/`), for example
            `("generator/params/*",)` or `("unet/params/*/lora_*",)`. Gradients and optimizer memory exist for these
            leaves only.
        loss: `loss(variables, batch, key) -> (mean loss, Aux)`.
        optimizer: the config section that trains them. Turns of the same section share one optimizer state, and then must
            train the same leaves.
        every: the turn comes on steps that this number divides (lazy regularization: 16; one generator step for five of
            the critic: 5).
        start, stop: and of these only on those from `start` on and before `stop` (None: to the end), counted from 0. Stages of a
            run are turns with such ranges, one after the other; a turn outside its range is not even compiled.
        prefix: of the turn's metrics, where a task has several turns; "" for its name. Turns that never come on the same step
            may share one, and then report the same metrics: a curve that goes on over all stages.
    """

    name: str
    trains: tuple[str, ...]
    loss: Loss
    optimizer: str = "optimizer"
    every: int = 1
    start: int = 0
    stop: int | None = None
    prefix: str = ""


GRID = "grid.png"  # of a folder of several images: all of them in one
INDEX = "artifacts.jsonl"  # of a folder of several artifacts: which is which


@dataclass(frozen=True)
class Artifact:
    """One thing to write for a person: `kind` chooses the writer ("text", "image", "audio")."""

    kind: str
    value: Any  # text: str; image: uint8 [height, width, 3]; audio: float [samples]
    metadata: Mapping[str, Any] = field(default_factory=dict)  # prompt, seed, log-probability, ... : all JSON-ready
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)  # of an image, for later requests: written beside it, as .npz


@dataclass(frozen=True, eq=False)
class AttentionMap:
    """Where one stack of layers looks, to be drawn layers by heads.

    Attributes:
        title: which attention this is ("cross-attention").
        weights: a query's weights add up to 1 over all its keys, of which those shown may be a part.
        queries, keys: what to call the tokens.
        image: in the place of `keys`, the picture whose `grid` (rows, columns) of patches they are, row by row.
    """

    title: str
    weights: Float[np.ndarray, "layers heads queries keys"]
    queries: tuple[str, ...]
    keys: tuple[str, ...] = ()
    image: UInt8[np.ndarray, "height width 3"] | None = None
    grid: tuple[int, int] | None = None


class Task(Protocol):
    """A family's networks, objective and sampler behind one door. `genjax.tasks.base.BaseTask` has the defaults."""

    @property
    def batch_spec(self) -> Mapping[str, jax.ShapeDtypeStruct]:
        """Shapes and dtypes of a global training batch."""

    @property
    def turns(self) -> Sequence[Turn]: ...

    def init(self, key: jax.Array) -> Variables:
        """Fresh variables; every parameter is boxed with its logical axis names (`flax.linen.Partitioned`)."""

    def evaluate(self, variables: Variables, batch: Batch, key: jax.Array) -> Metrics:
        """Metric sums of one held-out batch."""

    def summarize(self, metrics: Mapping[str, Any]) -> Mapping[str, float]:
        """Adds what follows from the averages (perplexity from the mean loss). Host side."""

    @property
    def flops_per_step(self) -> float:
        """Analytic floating-point operations of one training step on the global batch, forward and backward; the class
        docstring states the convention. Of the costliest step, where turns change during a run."""

    def flops_at(self, step: int) -> float:
        """Those of the step of this number, as turns' ranges have it; their rhythm is averaged over."""

    @property
    def notes(self) -> Sequence[str]:
        """Lines for the start of a run: the data in figures, the kernels chosen. Read within the parallel context."""

    @property
    def units_per_step(self) -> tuple[str, int]:
        """What the rate counts and how many a step holds: ("tokens", batch * length) or ("images", batch)."""

    def pretrained(self, folder: str, shardings: Variables) -> Variables:
        """Variables from a folder of published weights, on the given shardings; they replace those of a fresh run
        (`config.train.init_from`). Components that the folder does not have are left out."""

    def adopt(self, runs: Mapping[str, Variables]) -> Variables:
        """Components that a run takes over from other runs when it begins: `{key of config.task: variables of the run that it
        names}` to components of this task. See `genjax.tasks.adopted_runs`."""

    def export(self, folder: str, variables: Variables, **settings: Any) -> None:
        """Writes the variables in the published format that others read."""

    # The sample loop's corridor: requests -> fixed-shape batch -> sample -> artifacts.

    @property
    def makes(self) -> str:
        """The kind of all artifacts: "text", "image" or "audio"."""

    @property
    def request_type(self) -> type:
        """A frozen dataclass of everything a user may ask for; field metadata {"help": ...} makes `--help`."""

    def example_requests(self) -> Sequence[Any]:
        """What a training run samples every N steps when its config gives no requests."""

    def requests_of_data(self, first: Callable[[], Batch]) -> Sequence[Any]:
        """The same of a task that shows what it makes of held-out rows; `first()` reads the first batch. () of others."""

    def sampling_variables(self, variables: Variables) -> Variables:
        """The variables in the form that `sample` likes best (layers unstacked, adapters merged). Called once, not per batch."""

    def prepare(self, requests: Sequence[Any]) -> Sequence[Batch]:
        """Host side: requests to fixed-shape batches, in order. Raises RequestError before anything is compiled."""

    def shared(self, variables: Variables, batches: Sequence[Batch]) -> Variables:
        """Further components that some of the prepared batches need and that are the same for all. Called once, not per batch."""

    def sample(self, variables: Variables, batch: Batch, key: jax.Array) -> Batch:
        """Arrays for one prepared batch. Every knob that a user turns is a traced value in `batch`."""

    def sampling_steps(self, batch: Batch) -> int:
        """Host side: how many steps `sample` of a prepared batch goes in, where it is `finish` of `advance` of `begin` and a bar
        may show them; 0 of others."""

    def begin(self, variables: Variables, batch: Batch, key: jax.Array) -> Any:
        """What is there before the first step: arrays."""

    def advance(self, variables: Variables, batch: Batch, state: Any, steps: int | jax.Array) -> Any:
        """The same after up to so many more steps (traced), fewer at the end. Any division into calls gives the same."""

    def finish(self, variables: Variables, batch: Batch, state: Any) -> Batch:
        """What `sample` gives."""

    def stream(self, variables: Variables, batch: Batch, key: jax.Array) -> Iterator[Batch]:
        """The same as `sample` in pieces, driven by the host; the texts of the pieces' artifacts concatenate to those of
        `sample`, and the last piece holds all that `sample` gives. For a terminal, and for batches with an entry `host`
        (not an array: what the host must look at between pieces, such as stop strings). A piece with an entry `progress`,
        (steps done, of how many), tells how far long work has come, and only the last one holds arrays."""

    def present(self, requests: Sequence[Any], arrays: Sequence[Batch]) -> Sequence[Artifact]:
        """Host side: the arrays of all prepared batches to artifacts, in the order of the requests."""

    def attention(self, variables: Variables, request: Any) -> Sequence[AttentionMap]:
        """Where the model looks as it reads one request; `variables` as `init` gives them. For `sample.py --attention`.

        Raises:
            RequestError: a request that cannot be read or drawn, or a family whose attention is not shown.
        """
