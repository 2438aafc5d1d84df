"""The sections of a run's config, and what is checked before anything is compiled or written."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from genjax.config import structure, unknown_key_message
from genjax.errors import ConfigError
from genjax.parallel.mesh import MeshConfig
from genjax.sampling.measuring import MeasuringConfig
from genjax.training.averages import EmaConfig
from genjax.training.optimizers import OptimizerConfig
from genjax.training.step import GuardConfig

# Keys that may differ between the stored config and that of a resumed run: they change how long, how often or
# what is looked at, not what is trained.
CHANGEABLE = (
    "train.steps",
    "train.log_every",
    "train.eval_every",
    "train.eval_batches",
    "train.sample_every",
    "train.measure_every",
    "train.checkpoint_every",
    "train.keep",
    "train.keep_every",
    "train.profile",
    "ema.snapshot_every",
    "measure.*",
    "mesh.*",
    "rules",
    "data.num_threads",
    "data.num_workers",
    "data.prefetch",
    "data.cache_dir",
)


@dataclass(frozen=True)
class TrainConfig:
    """The loop. Every cadence is in steps; 0 means never (or only at the end)."""

    steps: int
    accumulation: int = 1  # microbatches in a step
    log_every: int = 10
    eval_every: int = 0  # the end of the run is always evaluated when there is held-out data
    eval_batches: int = 0  # held-out batches in one evaluation; 0: all
    sample_every: int = 0
    measure_every: int = 0  # figures of samples, as config.measure says; where it is not 0, the end of the run has some too
    checkpoint_every: int = 1000  # the end of the run is always saved
    keep: int = 3  # newest checkpoints kept
    keep_every: int = 0  # and every checkpoint at a multiple of this, for ever
    async_checkpoints: bool = True
    profile: tuple[int, ...] = ()  # (first, last) step of a profiler trace, written to RUN/profile
    init_from: str = ""  # a folder of published weights to start from

    def __post_init__(self):
        if self.steps < 1:
            raise ConfigError(f"train.steps must be at least 1, but is {self.steps}.")
        if self.accumulation < 1 or self.log_every < 1 or self.keep < 1:
            raise ConfigError("train.accumulation, train.log_every and train.keep must be at least 1.")
        if self.profile and (len(self.profile) != 2 or self.profile[0] > self.profile[1]):
            raise ConfigError(f"train.profile must be (first, last) steps, but is {self.profile}.")


@dataclass(frozen=True)
class RunConfig:
    """A whole run. `task` and `data` stay mappings here: their own rooms structure them by their `name`."""

    task: Mapping[str, Any]
    data: Mapping[str, Any]
    train: TrainConfig
    optimizer: OptimizerConfig = OptimizerConfig()
    mesh: MeshConfig = MeshConfig()
    rules: tuple[Any, ...] = ()  # (logical name, mesh axis) rows that replace those of parallel/rules.py
    ema: EmaConfig = EmaConfig()
    guard: GuardConfig = GuardConfig()
    measure: MeasuringConfig = MeasuringConfig()
    seed: int = 0
    optimizers: Mapping[str, OptimizerConfig] = field(default_factory=dict)  # filled from the sections named *_optimizer


def structure_run(values: Mapping[str, Any]) -> RunConfig:
    """A RunConfig from the nested mapping of a config file.

    Raises:
        ConfigError: unknown, missing or mistyped key; the nearest known key is named.
    """
    sections = dict(values.items())
    extra = {name: section for name, section in sections.items() if name.endswith("_optimizer")}
    rest = {name: section for name, section in sections.items() if name not in extra}
    if "optimizers" in rest:
        raise ConfigError(unknown_key_message("config.optimizers", "optimizers", ["optimizer"]))
    run = structure(RunConfig, rest)
    optimizers = {name: structure(OptimizerConfig, section, f"config.{name}") for name, section in extra.items()}
    return RunConfig(**{**vars(run), "optimizers": {"optimizer": run.optimizer} | optimizers})


def check_batch(batch_size: int, accumulation: int, shards: int, mesh_text: str) -> None:
    """The global batch must divide over microbatches and devices.

    Raises:
        ConfigError: names the nearest batch sizes that do.
    """
    unit = accumulation * shards
    if batch_size % unit == 0:
        return
    low, high = batch_size // unit * unit, -(-batch_size // unit) * unit
    use = f"{low} or {high}" if low else f"{high}"
    parts = f"{shards} batch shards (mesh {mesh_text})" + (f" and {accumulation} microbatches" if accumulation > 1 else "")
    raise ConfigError(f"batch_size {batch_size} does not divide over {parts}; set data.batch_size to {use}.")
