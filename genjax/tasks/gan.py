"""Generative adversarial networks: a generator and a discriminator, each in turns of its own, unconditional or by classes.

One step is a turn of the discriminator and, every `critic_steps` steps, one of the generator; then, each as often as it is asked
for, the lazy penalties (Karras et al., 2020, appendix B: as often as that, and as many times as strong). Players that grow
(`adversarial/growth.py`) have such turns for each of their resolutions.
"""

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from genjax.adversarial import ada, gauge, penalties
from genjax.adversarial.ada import AdaConfig, AdaState
from genjax.adversarial.growth import GrowthConfig
from genjax.adversarial.objectives import OBJECTIVES, Objective, ObjectiveName
from genjax.config import check_least, structure
from genjax.data.images import ImagesInfo
from genjax.data.mixture import MixtureInfo
from genjax.diffusion import editing
from genjax.diffusion.predictions import over
from genjax.errors import ConfigError
from genjax.tasks import gan_weights, style_samples
from genjax.tasks.base import BaseTask
from genjax.tasks.contract import HOST, Artifact, Aux, Batch, Metrics, Turn, Variables, mean_of
from genjax.tasks.gan_networks import KINDS, make_players
from genjax.tasks.gan_players import DISCRIMINATOR, GENERATOR, Players, Stage, StylePlayers
from genjax.tasks.gan_requests import GANRequest, prepare, present
from genjax.tasks.labels import Labels
from genjax.tasks.media import Images, medium_of
from genjax.tasks.points import Points
from genjax.tasks.sample_rows import drawn
from genjax.tasks.style_projection import Projector

AUGMENTATION = "augmentation"  # the component whose collection "ada" is the state of adaptive augmentation
ADA = "ada"
PATH_LENGTH = "path_length"  # the component whose collection "moving" is the mean length of paths


@dataclass(frozen=True)
class GANConfig:
    """The section `config.task`."""

    # Fields of the players' config (PointGANConfig, DCGANConfig, SNGANConfig); `size` takes the rest from a row of
    # models/*_sizes.py. The examples' shape and the classes are the data's.
    model: Mapping[str, Any] = field(default_factory=dict)
    name: str = "gan"
    network: str = "dcgan"
    conditional: bool = False  # whether both are told the labels of the data, where there are some
    objective: ObjectiveName = "non_saturating"
    critic_steps: int = 1  # turns of the discriminator for one of the generator
    gradient_penalty: float = 0.0  # lambda of WGAN-GP (published: 10); 0: none
    slope: float = 1.0  # that the gradient penalty asks for
    drift: float = 0.0  # weight of the squared logits of real examples (progressive growing: 0.001)
    r1: float = 0.0  # gamma of the penalty on slopes at real examples; 0: none
    r1_every: int = 1  # 1: a part of the discriminator's loss; more: a turn of its own on every so manieth step
    style_mixing: float = 0.0  # stylegan2: how often a generated batch has the styles of two latents (published: 0.9)
    path_length: float = 0.0  # stylegan2: weight of the penalty on lengths of paths (published: 2); 0: none
    path_length_every: int = 4  # steps between its turns
    path_length_shrink: int = 2  # how many times fewer examples its turn generates
    ada: AdaConfig = field(default_factory=AdaConfig)
    growth: GrowthConfig = field(default_factory=GrowthConfig)  # progressive: when which resolution comes
    # Requests of `train.sample_every`, as objects with fields of GANRequest; (): a grid of what the labels have.
    requests: tuple[Mapping[str, Any], ...] = ()

    def __post_init__(self):
        intervals = ("critic_steps", "r1_every", "path_length_every", "path_length_shrink")
        weights = ("gradient_penalty", "drift", "r1", "slope", "style_mixing", "path_length")
        check_least(self, "config.task", intervals, weights)
        if self.network not in KINDS:
            raise ConfigError(f"config.task.network is {self.network!r}; choose one of {', '.join(KINDS)}.")


@dataclass(frozen=True)
class GAN(BaseTask):
    """Two players behind the contract. FLOPs are those of their passes as models/ counts them, three forward passes for one with
    its gradients and six for a penalty on gradients; lazy turns by how often they come; of the last stage, if players grow."""

    players: Players
    medium: Images | Points
    labels: Labels
    config: GANConfig
    info: Any

    request_type = GANRequest

    @property
    def makes(self) -> str:
        return self.medium.kind

    @property
    def objective(self) -> Objective:
        return OBJECTIVES[self.config.objective]

    @property
    def batch_spec(self):
        rows = self.info.batch_size
        number = jax.ShapeDtypeStruct((rows,), jnp.int32)
        spec = {self.medium.column: jax.ShapeDtypeStruct((rows, *self.medium.shape), self.medium.dtype), "mask": number}
        if self.labels or isinstance(self.info, ImagesInfo | MixtureInfo):  # images without classes bear zeros
            spec["label"] = number
        return spec

    @property
    def turns(self):
        return tuple(turn for stage in self.players.stages for turn in replace(self, players=stage.players)._turns_of(stage))

    def _turns_of(self, stage: Stage) -> list[Turn]:
        c = self.config
        judge = {"trains": (f"{DISCRIMINATOR}/params/*",), "optimizer": "discriminator_optimizer"}
        make = {"trains": (f"{GENERATOR}/params/*",), "optimizer": "generator_optimizer"}

        def turn(name: str, **rest) -> Turn:
            return Turn(name + stage.name, prefix=name, start=stage.start, stop=stage.stop, **rest)

        turns = [
            turn("discriminator", loss=self.discriminator_loss, **judge),
            turn("generator", loss=self.generator_loss, every=c.critic_steps, **make),
        ]
        if c.r1 and c.r1_every > 1:
            turns.append(turn("r1", loss=self.r1_loss, every=c.r1_every, **judge))
        if c.path_length:
            turns.append(turn("path_length", loss=self.path_length_loss, every=c.path_length_every, **make))
        return turns

    def init(self, key):
        variables = self.players.init(key)
        if self.config.ada.pipeline:
            variables[AUGMENTATION] = {ADA: ada.start(self.config.ada).as_collection()}
        if self.config.path_length:
            variables[PATH_LENGTH] = {"moving": {"mean": jnp.zeros((), jnp.float32)}}
        return variables

    # Training. Rows of training batches are all examples.

    def discriminator_loss(self, variables: Variables, batch: Batch, key: jax.Array) -> tuple[jax.Array, Aux]:
        """The objective's two parts, on a batch of real and one of generated examples, and the penalties of every step."""
        c = self.config
        real_key, fake_key, latent_key, penalty_key = jax.random.split(key, 4)
        variables, counted, reported = self.players.count(variables, len(batch["mask"]))
        real, classes = self._real(variables, batch)
        fake = jax.lax.stop_gradient(self._fake(variables, latent_key, len(real), classes)[0])
        real_logits, moved = self._judge(variables, real, classes, real_key)
        # What the first pass left of the moving statistics, the second goes on from: as if one had come after the other.
        between = dict(variables) | {DISCRIMINATOR: dict(variables[DISCRIMINATOR]) | dict(moved)}
        fake_logits, moved = self._judge(between, fake, classes, fake_key)
        loss = self.objective.real(real_logits).mean() + self.objective.fake(fake_logits).mean()
        metrics = _outcome(self.objective, real_logits, fake_logits)
        metrics |= {name: mean_of(value, len(real)) for name, value in reported.items()}
        if c.gradient_penalty:
            critic = lambda x: self._judge(variables, x, classes, None)[0]  # noqa: E731
            penalty = penalties.gradient_penalty(critic, penalty_key, real, fake, c.slope).mean()
            loss, metrics = loss + c.gradient_penalty * penalty, metrics | {"gradient_penalty": mean_of(penalty, len(real))}
        if c.drift:
            loss = loss + c.drift * jnp.square(real_logits).mean()
        if c.r1 and c.r1_every == 1:
            penalty = self._r1(variables, real, classes, penalty_key)
            loss, metrics = loss + c.r1 * penalty, metrics | {"r1": mean_of(penalty, len(real))}
        collections = dict(counted) | ({DISCRIMINATOR: moved} if moved else {})
        if c.ada.adapts:
            state = ada.adapt(c.ada, AdaState(**variables[AUGMENTATION][ADA]), real_logits, self.info.batch_size)
            collections[AUGMENTATION] = {ADA: state.as_collection()}
            metrics["augmentation"] = mean_of(state.probability, len(real))
        return loss, Aux(len(real), metrics, collections)

    def generator_loss(self, variables: Variables, batch: Batch, key: jax.Array) -> tuple[jax.Array, Aux]:
        """The objective's third part, on a batch of generated examples."""
        latent_key, judge_key = jax.random.split(key)
        rows, classes = len(batch["mask"]), self._classes(batch)
        fake, moved = self._fake(variables, latent_key, rows, classes)
        logits, _ = self._judge(variables, fake, classes, judge_key)
        return self.objective.generator(logits).mean(), Aux(rows, {}, {GENERATOR: moved} if moved else {})

    def r1_loss(self, variables: Variables, batch: Batch, key: jax.Array) -> tuple[jax.Array, Aux]:
        """R1 of a turn that comes every `r1_every` steps, as many times as strong."""
        real, classes = self._real(variables, batch)
        penalty = self._r1(variables, real, classes, key)
        return self.config.r1 * self.config.r1_every * penalty, Aux(len(real), {"penalty": mean_of(penalty, len(real))})

    def path_length_loss(self, variables: Variables, batch: Batch, key: jax.Array) -> tuple[jax.Array, Aux]:
        """The penalty on lengths of paths, of a turn that comes every `path_length_every` steps, as many times as strong."""
        c = self.config
        latent_key, styles_key, noise_key, direction_key = jax.random.split(key, 4)
        classes = self._classes(batch)
        count = max(1, len(batch["mask"]) // c.path_length_shrink)
        z = jax.random.normal(latent_key, (count, self.players.latent))
        classes = None if classes is None else classes[:count]
        styles, _ = self.players.styles(variables, z, classes, train=True, key=styles_key)
        lengths = penalties.path_lengths(lambda w: self.players.synthesize(variables, w, noise_key), styles, direction_key)
        penalty, mean = penalties.path_length_penalty(lengths, variables[PATH_LENGTH]["moving"]["mean"])
        metrics = {"penalty": mean_of(penalty.mean(), count), "length": mean_of(lengths.mean(), count)}
        moved = {PATH_LENGTH: {"moving": {"mean": mean}}}
        return c.path_length * c.path_length_every * penalty.mean(), Aux(count, metrics, moved)

    def _r1(self, variables, real, classes, key) -> Float[Array, ""]:
        return penalties.r1(lambda x: self._judge(variables, x, classes, key)[0], real).mean()

    def _real(self, variables, batch: Batch) -> tuple[Float[Array, "batch *shape"], Int[Array, "batch"] | None]:
        return self.players.see(variables, self.medium.to_model(batch[self.medium.column])), self._classes(batch)

    def _classes(self, batch: Batch) -> Int[Array, "batch"] | None:
        return batch["label"] if self.labels else None

    def _fake(self, variables, key, count: int, classes):
        latent_key, rest = jax.random.split(key)
        z = jax.random.normal(latent_key, (count, self.players.latent))
        return self.players.generate(variables, z, classes, train=True, key=rest)

    def _judge(self, variables, x, classes, key):
        """Logits as in training: augmented where the config says so, and a key is given."""
        if self.config.ada.pipeline and key is not None:
            x = ada.augment(key, x, variables[AUGMENTATION][ADA]["probability"], self.config.ada.pipeline)
        return self.players.judge(variables, x, classes, train=True)

    def evaluate(self, variables: Variables, batch: Batch, key: jax.Array) -> Metrics:
        """How held-out and generated examples are judged, and how far apart they lie; of points, which modes are reached."""
        weights = batch["mask"].astype(jnp.float32)
        real, classes = self._real(variables, batch)
        z = jax.random.normal(key, (len(real), self.players.latent))
        fake, _ = self.players.generate(variables, z, classes, train=False)
        judge = lambda x: self.players.judge(variables, x, classes, train=False)[0]  # noqa: E731
        sums = _outcome(self.objective, judge(real), judge(fake), weights)
        for name, x in (("real", real), ("fake", fake)):
            sums[f"distance_{name}"] = gauge.pairwise_distances(x, weights)
        if isinstance(self.medium, Points):
            centers = jnp.asarray(self.medium.info.centers)
            shares = gauge.mode_shares(fake, centers, self.medium.info.deviation, weights)
            sums |= {f"mode_{mode}": (share, weights.sum()) for mode, share in enumerate(shares)}
        return sums

    def summarize(self, metrics: Mapping[str, float]) -> Mapping[str, float]:
        """Adds `diversity`, the mean distance of two samples over that of two real examples (1 is as it should be, 0 a collapse);
        of points, `modes` that are covered and `within`, the share of samples within three deviations of one."""
        result = {name: value for name, value in metrics.items() if not name.startswith("mode_")}
        shares = [value for name, value in metrics.items() if name.startswith("mode_")]
        if shares:
            result |= {"modes": float(gauge.covered_modes(shares)), "within": sum(shares)}
        if metrics.get("distance_real"):
            result["diversity"] = metrics["distance_fake"] / metrics["distance_real"]
        return result

    # Sampling.

    def prepare(self, requests: Sequence[GANRequest]) -> Sequence[Batch]:
        return prepare(requests, self)

    def shared(self, variables: Variables, batches: Sequence[Batch]) -> Variables:
        return style_samples.directions(self.players, variables, batches)

    def sample(self, variables: Variables, batch: Batch, key: jax.Array) -> Batch:
        if isinstance(self.players, StylePlayers):
            x = style_samples.images(self.players, variables, batch, key)
        else:
            z = drawn(key, batch["latent"], self.players.latent)
            if "share" in batch:
                z = editing.spherical(z, drawn(key, batch["other"], self.players.latent), over(batch["share"], z))
            x, _ = self.players.generate(variables, z, batch.get("classes"), train=False)
        return {"row": batch["row"], "value": self.medium.from_model(x)}

    def stream(self, variables: Variables, batch: Batch, key: jax.Array) -> Iterator[Batch]:
        return self._projector.stream(variables, batch, key) if HOST in batch else super().stream(variables, batch, key)

    @functools.cached_property
    def _projector(self) -> Projector:
        players = replace(self.players, config=replace(self.players.config, dtype="float32"))  # as published: it goes by slopes
        return Projector(players, self.medium)

    def present(self, requests: Sequence[GANRequest], arrays: Sequence[Batch]) -> Sequence[Artifact]:
        return present(requests, arrays, self)

    def example_requests(self) -> Sequence[GANRequest]:
        if self.config.requests:
            return [structure(GANRequest, dict(values), "config.task.requests") for values in self.config.requests]
        columns = len(self.labels.attributes[0][1]) if self.labels else 10
        return [GANRequest(num_samples=1000 if isinstance(self.medium, Points) else 8 * min(columns, 10))]

    # Figures, and weights of others.

    def pretrained(self, folder: str, shardings: Variables | None) -> Variables:
        """The players of a folder in the layout of public code; see `gan_weights.load`."""
        return gan_weights.placed(gan_weights.load(self.players, folder), shardings)

    def export(self, folder: str, variables: Variables, **settings: Any) -> None:
        """Writes both players in that layout, in float32."""
        gan_weights.save(self.players, folder, variables, **gan_weights.in_float32(settings))

    @property
    def flops_per_step(self) -> float:
        c, (make, judge) = self.config, self.players.flops
        discriminator = make + 2 * 3 * judge + 6 * judge * (bool(c.gradient_penalty) + bool(c.r1) / c.r1_every)
        generator = 3 * (make + judge) / c.critic_steps
        if c.path_length:
            generator += 6 * make / c.path_length_shrink / c.path_length_every
        return self.info.batch_size * (discriminator + generator)

    def flops_at(self, step: int) -> float:
        present = [stage for stage in self.players.stages if stage.start <= step][-1]
        return replace(self, players=present.players).flops_per_step

    @property
    def units_per_step(self) -> tuple[str, int]:
        return self.medium.units, self.info.batch_size

    @property
    def notes(self) -> tuple[str, ...]:
        c = self.config
        told = f"told {self.labels.attributes[0][0]}" if self.labels else "unconditional"
        weights = {name: getattr(c, name) for name in ("gradient_penalty", "r1", "drift", "path_length")}
        rules = [f"{name} {value:g}" for name, value in weights.items() if value]
        if c.ada.pipeline:
            rules.append(f"augmented by {c.ada.pipeline}")
        lines = (f"data: {self.info}", f"players: {c.network}, {told}; {', '.join([c.objective, *rules])}")
        grown = [f"{stage.name[1:]} from step {stage.start:,}" for stage in self.players.stages if stage.name]
        return (*lines, f"resolutions: {', '.join(grown)}") if grown else lines


def _outcome(objective: Objective, real: Array, fake: Array, weights: Array | None = None) -> dict[str, tuple[Array, Array]]:
    """Logits, and the share of real and generated examples that were told for what they are."""
    weights = jnp.ones(len(real)) if weights is None else weights
    count = weights.sum()
    found = {name: ((logits * weights).sum(), count) for name, logits in (("logit_real", real), ("logit_fake", fake))}
    if objective.boundary is not None:
        found["accuracy_real"] = (((real > objective.boundary) * weights).sum(), count)
        found["accuracy_fake"] = (((fake <= objective.boundary) * weights).sum(), count)
    return found


def build(section: Mapping[str, Any], info: Any) -> GAN:
    """The task from `config.task` and what the data knows of itself."""
    config = structure(GANConfig, section, "config.task")
    medium = Points(info) if isinstance(info, MixtureInfo) else medium_of(info, "gan")
    if not isinstance(medium, Images | Points):
        raise ConfigError(f"config.task.name 'gan' makes images or points, not {medium.units}; use 'diffusion'.")
    attributes = tuple(info.attributes) if config.conditional else ()
    if config.conditional and len(attributes) != 1:
        found = f"has {', '.join(name for name, _ in attributes)}" if attributes else "has no labels"
        raise ConfigError(f"config.task.conditional needs data with one label; this {found}: set it to False.")
    if config.ada.pipeline and not isinstance(medium, Images):
        raise ConfigError("config.task.ada is for images; leave it out for points.")
    labels = Labels(attributes)
    told = {"mixing": config.style_mixing, "growth": config.growth, "batch_size": info.batch_size}
    players = make_players(config.network, config.model, medium.shape, labels.count, **told)
    if config.path_length and not isinstance(players, StylePlayers):
        raise ConfigError(f"config.task.path_length is for network 'stylegan2'; '{config.network}' has no styles: leave it out.")
    return GAN(players, medium, labels, config, info)
