"""Diffusion models: a denoiser trained at all levels of noise, sampled by any sampler, unconditional, by classes, or from small
images (super-resolution)."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from genjax.config import structure
from genjax.data.images import ImagesInfo
from genjax.diffusion import editing, guidance, predictions, programs
from genjax.diffusion.augmentation import augment_edm
from genjax.diffusion.losses import uncertain
from genjax.diffusion.predictions import Prediction, over
from genjax.diffusion.process import Process, ProcessConfig
from genjax.errors import CheckpointError, ConfigError
from genjax.interop import huggingface, pipelines, schedulers
from genjax.models.uncertainty import LogVariance
from genjax.tasks.base import BaseTask, StepwiseSampling
from genjax.tasks.contract import Artifact, Aux, Batch, Metrics, Turn, Variables
from genjax.tasks.diffusion_networks import KINDS, NetworkConfig, call, kind_of, make_config
from genjax.tasks.diffusion_requests import DiffusionRequest, SamplingConfig, check_defaults, prepare, present
from genjax.tasks.labels import Labels
from genjax.tasks.media import Medium, medium_of
from genjax.tasks.sample_rows import row_keys

AUGMENTATION_LABELS = 9  # of `augment_edm`
QUARTERS = 4  # of the levels of noise, by each of which held-out losses are told


@dataclass(frozen=True)
class DiffusionConfig:
    """The section `config.task`."""

    # Fields of the network's config (UNetConfig, DiTConfig); `size` takes the rest from a row of models/*_sizes.py. Channels and
    # classes are the data's.
    model: Mapping[str, Any]
    name: str = "diffusion"
    network: Literal["unet", "dit"] = "unet"
    process: ProcessConfig = field(default_factory=ProcessConfig)
    conditional: bool = True  # whether the network is told the labels of the data, where there are some
    label_dropout: float = 0.1  # the share of rows that are told no label (for guidance; Ho and Salimans, 2022)
    # Super-resolution: the network is told the image at a size so many times smaller (Saharia et al., 2021); 0: it is not.
    low_resolution: int = 0
    augment: float = 0.0  # how often images are changed in each of EDM's ways (`diffusion.augmentation`), of which they tell
    uncertainty: bool = False  # a learned weight for each level beside process.weighting (EDM2; see models/uncertainty.py)
    self_conditioning: float = 0.5  # the share of batches that are told a first prediction, where model.self_conditioning
    sampling: SamplingConfig = field(default_factory=SamplingConfig)  # what a request that says nothing gets
    # Requests of `train.sample_every`, as objects with fields of DiffusionRequest; (): a grid of what the labels have.
    requests: tuple[Mapping[str, Any], ...] = ()

    def __post_init__(self):
        for name in ("label_dropout", "self_conditioning", "augment"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"config.task.{name} is {getattr(self, name)}; it must be at least 0 and below 1.")
        if self.low_resolution < 0 or self.low_resolution == 1:
            raise ConfigError(f"config.task.low_resolution is {self.low_resolution}; it must be 0 (none), or 2 or more.")


@dataclass(frozen=True)
class Diffusion(StepwiseSampling, BaseTask):
    """A denoiser behind the contract. FLOPs are those of its network on a batch, as models/ counts them; a first prediction for
    self-conditioning is not counted."""

    model_config: NetworkConfig
    process: Process
    medium: Medium
    labels: Labels
    config: DiffusionConfig
    info: Any

    request_type = DiffusionRequest

    @property
    def makes(self) -> str:
        return self.medium.kind

    @property
    def component(self) -> str:
        return kind_of(self.model_config)

    @property
    def factor(self) -> int:
        """What the sides of a sample must be multiples of."""
        return KINDS[self.component].factor(self.model_config)

    @property
    def remembers(self) -> bool:
        """Whether the network sees its last prediction."""
        return getattr(self.model_config, "self_conditioning", False)

    @property
    def batch_spec(self):
        rows = self.info.batch_size
        numbers = jax.ShapeDtypeStruct((rows,), jnp.int32)
        spec = {self.medium.column: jax.ShapeDtypeStruct((rows, *self.medium.shape), self.medium.dtype), "mask": numbers}
        if self.info.attributes or isinstance(self.info, ImagesInfo):  # images without classes bear zeros
            shape = (rows, len(self.info.attributes)) if len(self.info.attributes) > 1 else (rows,)
            spec["label"] = jax.ShapeDtypeStruct(shape, jnp.int32)
        return spec

    @property
    def turns(self):
        uncertainty = ("uncertainty/params/*",) if self.config.uncertainty else ()
        return (Turn("diffusion", (f"{self.component}/params/*", *uncertainty), self.loss),)

    def init(self, key):
        c = self.model_config
        x = jnp.zeros((1, *self.medium.shape[:-1], c.in_channels))
        classes = jnp.zeros((1, len(self.labels.attributes)), jnp.int32) if self.labels else None
        variables = {self.component: KINDS[self.component].module(c).init(key, x, jnp.ones(1), classes)}
        if self.config.uncertainty:
            variables["uncertainty"] = LogVariance().init(jax.random.fold_in(key, 1), jnp.ones(1))
        return variables

    # Training.

    def loss(self, variables: Variables, batch: Batch, key: jax.Array) -> tuple[jax.Array, Aux]:
        """The mean weighed error over the batch (`Process.losses`)."""
        level_key, label_key, dropout_key, augment_key, rest = jax.random.split(key, 5)
        weights = batch["mask"].astype(jnp.float32)
        classes = None
        if self.labels:
            classes = self.labels.classes(batch["label"])
            dropped = jax.random.bernoulli(label_key, self.config.label_dropout, (len(classes), 1))
            classes = jnp.where(dropped, self.labels.none, classes)
        shares = self.process.draw_shares(level_key, len(weights))
        clean, condition = self.medium.to_model(batch[self.medium.column]), None
        if self.config.augment:
            clean, condition = augment_edm(augment_key, clean, self.config.augment)
        losses, ratios = self._losses(variables, clean, rest, shares, classes, condition, dropout_key)
        weight = jnp.sum(weights)
        mean = lambda losses: jnp.sum(losses * weights) / jnp.maximum(weight, 1.0)  # noqa: E731
        if not self.config.uncertainty:
            return mean(losses), Aux(weight)
        log_variance = LogVariance().apply(variables["uncertainty"], jnp.log(jnp.clip(ratios, 1e-4, 1e4)) / 4)
        return mean(uncertain(losses, log_variance)), Aux(weight, {"weighed_error": (jnp.sum(losses * weights), weight)})

    def evaluate(self, variables: Variables, batch: Batch, key: jax.Array) -> Metrics:
        """The loss with labels, at levels that cover all evenly; and that of each quarter of the levels, the cleanest first."""
        weights = batch["mask"].astype(jnp.float32)
        shares = (jax.random.uniform(key) + jnp.arange(len(weights)) * 0.6180339887498949) % 1.0  # the golden ratio spreads them
        classes = self.labels.classes(batch["label"]) if self.labels else None
        clean = self.medium.to_model(batch[self.medium.column])
        losses, _ = self._losses(variables, clean, jax.random.fold_in(key, 1), shares, classes)
        sums = {"loss": (jnp.sum(losses * weights), jnp.sum(weights))}
        for quarter in range(QUARTERS):
            chosen = weights * (jnp.floor(shares * QUARTERS) == quarter)
            sums[f"loss_of_quarter_{quarter + 1}"] = (jnp.sum(losses * chosen), jnp.sum(chosen))
        return sums

    def _losses(self, variables, clean, key, shares, classes, condition=None, dropout_key=None):
        """The loss of each row, and sigma / alpha of its level."""
        noise_key, again_key = jax.random.split(key)
        at = self.process.noisy(noise_key, clean, shares)
        low = self.medium.enlarged(self.medium.reduced(clean, self.config.low_resolution)) if self.config.low_resolution else None
        x, times = self.process.network_input(at.x, at.time, at.alpha, at.sigma)
        told = {"condition": condition, "dropout_key": dropout_key}
        ask = functools.partial(self._network, variables, x, times, classes, low, **told)
        last = None
        if self.remembers:

            def first() -> Float[Array, "batch *shape"]:
                found = self.process.predict(ask(None), at.x, at.alpha, at.sigma).clean
                return jax.lax.stop_gradient(found)

            again = jax.random.bernoulli(again_key, self.config.self_conditioning)
            last = jax.lax.cond(again, first, lambda: jnp.zeros_like(clean))
        return self.process.losses(ask(last), at), at.sigma / at.alpha

    def _network(self, variables, x, times, classes, low, last=None, **told) -> Float[Array, "batch *outputs"]:
        if low is not None:
            x = jnp.concatenate([x, low], axis=-1)
        return call(self.model_config, variables[self.component], x, times, classes, last=last, **told)

    # Sampling.

    def prepare(self, requests: Sequence[DiffusionRequest]) -> Sequence[Batch]:
        return prepare(requests, self)

    def sampling_steps(self, batch: Batch) -> int:
        return int(batch["program"].evaluations)

    def begin(self, variables: Variables, batch: Batch, key: jax.Array) -> tuple[programs.Run, jax.Array]:
        program: programs.Program = batch["program"]
        shape = (*batch["places"].shape, self.medium.shape[-1])
        keys = row_keys(key, batch["row"])
        known = self.medium.to_model(batch["image"]) if "image" in batch else None
        x = programs.starting_noise(program, keys, shape)
        if "ends" in batch:
            # One noise throughout, for samplers that draw on the way: what differs is where they start.
            keys = row_keys(key, batch["ends"][:, 0])
            ends = [programs.starting_noise(program, row_keys(key, batch["ends"][:, end]), shape) for end in (0, 1)]
            x = editing.spherical(*ends, over(batch["share"], x))
        if "inversion" in batch:
            inversion = batch["inversion"]
            start = inversion.starts[0, 0] * known
            x, _ = programs.run(self.denoiser(variables, batch), start, inversion, keys, remember=self.remembers)
        elif "blended" in batch:
            x = x + program.starts[0, 0] * known
        return programs.begin(x, frames=len(batch["frames"]), remember=self.remembers), keys

    def advance(self, variables: Variables, batch: Batch, state: tuple[programs.Run, jax.Array], steps: int | jax.Array):
        run, keys = state
        project = editing.keep_known(self.medium.to_model(batch["image"]), batch["known"]) if "known" in batch else None
        return programs.advance(self.denoiser(variables, batch), run, batch["program"], keys, steps, project=project), keys

    def finish(self, variables: Variables, batch: Batch, state: tuple[programs.Run, jax.Array]) -> Batch:
        run, _ = state
        result = {"row": batch["row"], "value": self.medium.from_model(run.x)}
        return result | ({"film": self.medium.from_model(run.film)} if len(batch["frames"]) else {})

    def denoiser(self, variables: Variables, batch: Batch) -> programs.Denoiser:
        """The network under the conditions of a prepared batch, for a sampler."""
        process, classes = self.process, batch.get("classes")
        low = self.medium.enlarged(self.medium.to_model(batch["low"])) if "low" in batch else None

        def ask(x, time, alpha, sigma, classes, low, last) -> Float[Array, "batch *outputs"]:
            levels = [jnp.broadcast_to(level, len(x)) for level in (time, alpha, sigma)]
            return self._network(variables, *process.network_input(x, *levels), classes, low, *last)

        def denoise(x, time, alpha, sigma, *last) -> Prediction:
            if "guidance" not in batch:
                output = ask(x, time, alpha, sigma, classes, low, last)
            else:
                twice = lambda part: None if part is None else jnp.concatenate([part, part])  # noqa: E731
                both = jnp.concatenate([classes, jnp.full_like(classes, self.labels.none)])
                output = ask(twice(x), time, alpha, sigma, both, twice(low), [twice(part) for part in last])
                told, untold = jnp.split(output, 2)
                asked, channels = batch["guidance"], self.medium.shape[-1]
                scale = guidance.within(asked["scale"], sigma / alpha, asked["from"], asked["until"])
                guided = guidance.classifier_free(told[..., :channels], untold[..., :channels], scale, asked["rescale"])
                output = jnp.concatenate([guided, told[..., channels:]], axis=-1)
            found = process.predict(output, x, alpha, sigma)
            if "quantile" in batch:
                return predictions.threshold(found, batch["quantile"], jnp.inf)
            return predictions.clip(found, batch["limit"])

        return denoise

    def present(self, requests: Sequence[DiffusionRequest], arrays: Sequence[Batch]) -> Sequence[Artifact]:
        return present(requests, arrays, self)

    def example_requests(self) -> Sequence[DiffusionRequest]:
        if self.config.requests:
            return [structure(DiffusionRequest, dict(values), "config.task.requests") for values in self.config.requests]
        if self.config.low_resolution:
            return ()
        columns = len(self.labels.attributes[0][1]) if len(self.labels.attributes) == 1 else 4
        return [DiffusionRequest(num_samples=4 * min(columns, 16))]

    # Figures, and weights of others.

    @property
    def flops_per_step(self) -> float:
        return self.info.batch_size * KINDS[self.component].flops(self.model_config, self.medium.shape[:-1])

    @property
    def units_per_step(self) -> tuple[str, int]:
        return self.medium.units, self.info.batch_size

    @property
    def notes(self) -> tuple[str, ...]:
        told = f"told {', '.join(name for name, _ in self.labels.attributes)}" if self.labels else "unconditional"
        c = self.process.config
        return (f"data: {self.info}", f"process: {c.schedule}, the network predicts {c.prediction} and is {told}")

    def pretrained(self, folder: str, shardings: Variables | None) -> Variables:
        """The network of a folder of diffusers, or of a pipeline's."""
        path = pipelines.network_folder(folder)
        kind, found = huggingface.read_config(path)
        if not isinstance(found, type(self.model_config)):
            raise CheckpointError(f"{folder} holds a {kind}; this task has a {type(self.model_config).__name__}.")
        place = None if shardings is None else shardings[self.component]["params"]
        return {self.component: {"params": huggingface.load(path, place, config=self.model_config)}}

    def export(self, folder: str, variables: Variables, **settings: Any) -> None:
        """Writes a folder that diffusers' networks read; beside the weights its scheduler, where diffusers has one."""
        scheduler = schedulers.to_json(self.process.config, self.config.sampling.clip)
        files = {schedulers.FILE: scheduler} if scheduler else {}
        values = {"sample_size": list(self.medium.shape[:-1])}
        huggingface.save(folder, variables[self.component]["params"], self.model_config, values=values, files=files, **settings)


def build(section: Mapping[str, Any], info: Any) -> Diffusion:
    """The task from `config.task` and what the data knows of itself."""
    config = structure(DiffusionConfig, section, "config.task")
    medium = medium_of(info)
    labels = Labels(tuple(info.attributes) if config.conditional else (), config.label_dropout > 0)
    for name in ("low_resolution", "augment"):
        if getattr(config, name) and medium.column != "image":
            raise ConfigError(f"config.task.{name} is for images; leave it out for {medium.units}.")
    if config.low_resolution:
        medium.check_reduced(config.low_resolution)
    channels = medium.shape[-1]
    fixed = {
        "in_channels": channels * (1 + (config.low_resolution > 0)),
        "out_channels": channels * (1 + config.process.learned_variance),
        "num_classes": labels.count,
        "null_class": bool(labels) and labels.has_none,
    }
    optional = {"condition_features": AUGMENTATION_LABELS if config.augment else 0}
    network = make_config(config.network, config.model, medium.shape[:-1], fixed, optional)
    if config.low_resolution and getattr(network, "self_conditioning", False):
        raise ConfigError("config.task.low_resolution and model.self_conditioning do not go together; leave one out.")
    process = Process(config.process)
    check_defaults(config.sampling, process)
    return Diffusion(network, process, medium, labels, config, info)
