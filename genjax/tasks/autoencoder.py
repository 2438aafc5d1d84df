"""Autoencoders of images: VQ-VAE and its kin, the discrete VAE, VQGAN and the KL autoencoder of latent diffusion.

One turn trains encoder, bottleneck and decoder to give images back. With `adversarial`, a discriminator of patches joins at a
step, and from then on there are two turns (Esser et al., 2021, section 3.1).
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from genjax.adversarial.objectives import OBJECTIVES, ObjectiveName
from genjax.config import check_least, structure
from genjax.data.images import ImagesInfo
from genjax.errors import ConfigError
from genjax.evaluation.images import similarity
from genjax.interop import public_files
from genjax.models.autoencoder import last_convolution
from genjax.models.openai_dvae import DVAEConfig
from genjax.models.vgg import VGGConfig
from genjax.quantization.gumbel import GumbelConfig
from genjax.quantization.quantized import CODEBOOK, RANDOM, Quantized
from genjax.tasks import autoencoder_weights
from genjax.tasks.autoencoder_networks import COMPONENT, KINDS, Grid, NetworkConfig, NetworkName, grids, make_config
from genjax.tasks.autoencoder_requests import ReconstructionRequest, RequestOfData, prepare, present
from genjax.tasks.base import BaseTask
from genjax.tasks.contract import Artifact, Aux, Batch, Metrics, Task, Turn, Variables, mean_of
from genjax.tasks.gan_weights import placed
from genjax.tasks.media import Images, medium_of
from genjax.tasks.perceptual import Perceptual, TransformerFeatures, VGGFeatures, compares_images, distance
from genjax.tasks.pixels import PIXELS, PixelName
from genjax.tasks.translators import Judge, make_judge

ADOPTS = ("features",)  # a run whose features compare images
SCHEDULE = "schedule"
SHOWN = 8  # held-out images that a run shows
_COUNT = "code_counts"


@dataclass(frozen=True)
class AutoencoderTaskConfig:
    """The section `config.task`."""

    # Fields of AutoencoderConfig (or TwoLevelConfig, DVAEConfig); `bottleneck.name` says which one stands between. Channels are
    # the data's.
    model: Mapping[str, Any]
    name: str = "autoencoder"
    network: NetworkName = "autoencoder"
    pixels: PixelName = "absolute"
    # Weights of the bottleneck's own losses, beside the mean over all numbers of an image.
    commitment: float = 0.25
    codebook: float = 1.0
    entropy: float = 0.1
    kl: float = 1e-6  # of nats of an example, for each number of its image (latent diffusion: 1e-6; DALL-E: 6.6)
    kl_steps: int = 0  # in which that weight rises from 0, along a cosine (DALL-E: 5,000)
    temperature: tuple[float, ...] = (1.0, 0.0625)  # bottleneck "gumbel": from and to, along a cosine
    temperature_steps: int = 0  # in which it falls (DALL-E: 150,000); 0: it is the last one throughout
    perceptual: float = 0.0  # weight of the distance of features (VQGAN: 1)
    features: str = ""  # whose: a run of task classification or contrastive ...
    features_digest: str = ""  # ... whose weights, if given, must have this digest
    vgg: Mapping[str, Any] = field(default_factory=dict)  # ... or fields of VGGConfig; its weights come from train.init_from
    adversarial: float = 0.0  # weight of what the discriminator says (VQGAN: 0.8); 0: there is none
    adaptive: bool = True  # whether that is also weighed by the slopes at the decoder's last layer (equation 7)
    adversarial_start: int = 0  # the step at which the discriminator comes
    objective: ObjectiveName = "hinge"
    discriminator: Mapping[str, Any] = field(default_factory=dict)  # fields of PatchGANConfig
    # Requests of `train.sample_every`, as objects with fields of ReconstructionRequest; (): held-out images.
    requests: tuple[Mapping[str, Any], ...] = ()

    def __post_init__(self):
        weights = ("commitment", "codebook", "entropy", "kl", "perceptual", "adversarial")
        check_least(self, "config.task", (), (*weights, "kl_steps", "temperature_steps", "adversarial_start"))
        if len(self.temperature) != 2 or min(self.temperature) <= 0:
            raise ConfigError(f"config.task.temperature is {self.temperature}; it must be two numbers above 0, from and to.")
        if self.perceptual and bool(self.features) == bool(self.vgg):
            raise ConfigError(
                "config.task.perceptual compares features: name a run of task 'classification' or 'contrastive' as "
                "config.task.features, or the layers of a VGG as config.task.vgg, and not both."
            )


@dataclass(frozen=True)
class AutoencoderTask(BaseTask):
    """An autoencoder behind the contract. FLOPs are those of the networks' passes as models/ counts them, three forward passes
    for one with its gradients."""

    model_config: NetworkConfig
    medium: Images
    perceptual: Perceptual | None
    judge: Judge | None
    config: AutoencoderTaskConfig
    info: Any

    request_type = ReconstructionRequest
    makes = "image"

    @functools.cached_property
    def model(self):
        return KINDS[type(self.model_config)].module(self.model_config)

    @property
    def code_grids(self) -> list[Grid]:
        """What an image becomes; [] where that is no codes."""
        found = grids(self.model_config, *self.medium.shape[:2])
        return [grid for grid in found if grid.bottleneck.codes]

    @property
    def batch_spec(self):
        rows = self.info.batch_size
        shape = jax.ShapeDtypeStruct((rows, *self.medium.shape), jnp.uint8)
        return {"image": shape, "mask": jax.ShapeDtypeStruct((rows,), jnp.int32)}

    @property
    def turns(self):
        c, trains = self.config, (f"{COMPONENT}/params/*",)
        if not c.adversarial:
            return (Turn(COMPONENT, trains, self.loss),)
        start = c.adversarial_start
        before = (Turn(COMPONENT, trains, self.loss, stop=start),) if start else ()
        judged = Turn(f"{COMPONENT}_judged", trains, self.judged_loss, start=start, prefix=COMPONENT)
        judge = Turn(
            "discriminator", ("discriminator/params/*",), self.discriminator_loss, "discriminator_optimizer", start=start
        )
        return (*before, judged, judge)

    def init(self, key):
        keys, shape = jax.random.split(key, 4), self.medium.shape
        least = (1, self.model_config.factor, self.model_config.factor, shape[-1])
        variables = {COMPONENT: self.model.init({"params": keys[0], RANDOM: keys[1]}, jnp.zeros(least))}
        if self._scheduled:
            variables[SCHEDULE] = {"moving": {"images": jnp.zeros((), jnp.float32)}}
        if self.perceptual:
            variables["features"] = self.perceptual.init(keys[2], shape)
        if self.judge:
            variables["discriminator"] = self.judge.init(keys[3], shape)
        return variables

    def adopt(self, runs):
        return {"features": runs["features"][self.perceptual.component]} if "features" in runs else {}

    # Training.

    def loss(self, variables: Variables, batch: Batch, key: jax.Array) -> tuple[jax.Array, Aux]:
        """The weighed sum of what is lost of images, and of the bottleneck's losses."""
        return self._loss(variables, batch, key, judged=False)

    def judged_loss(self, variables: Variables, batch: Batch, key: jax.Array) -> tuple[jax.Array, Aux]:
        """The same with what the discriminator says."""
        return self._loss(variables, batch, key, judged=True)

    def _loss(self, variables, batch, key, judged: bool):
        c, images = self.config, self.medium.to_model(batch["image"])
        count = len(images)
        variables, counted, (temperature, kl) = self._schedule(variables, count)
        quantized, moved = self._encode(variables, images, key, temperature)
        rngs = {"dropout": jax.random.fold_in(key, 1)}
        pixels, objective = PIXELS[c.pixels], OBJECTIVES[c.objective]
        wanted = self.perceptual.maps(variables["features"], images) if c.perceptual else None

        def lost(outputs: Array) -> tuple[Array, dict[str, Array]]:
            parts = {"pixels": pixels.loss(outputs, images).mean()}
            if c.perceptual:
                made = self.perceptual.maps(variables["features"], pixels.image(outputs))
                parts["perceptual"] = distance(made, wanted).mean()
            return parts["pixels"] + c.perceptual * parts.get("perceptual", 0.0), parts

        if not judged:
            outputs = self.model.apply(variables[COMPONENT], quantized.values, True, method="decode", rngs=rngs)
            loss, parts = lost(outputs)
        else:
            hidden = self.model.apply(variables[COMPONENT], quantized.values, True, True, method="decode", rngs=rngs)
            last = variables[COMPONENT]["params"]["decoder"]
            outputs = last_convolution(last, hidden)
            fooled = lambda x: objective.generator(self.judge(variables["discriminator"], pixels.image(x), True)[0]).mean()  # noqa: E731
            weight = self._slopes(lambda x: lost(x)[0], fooled, last, hidden, outputs) if c.adaptive else jnp.ones(())
            loss, parts = lost(outputs)
            parts |= {"adversarial": fooled(outputs), "adversarial_weight": c.adversarial * weight}
            loss = loss + c.adversarial * weight * parts["adversarial"]
        parts |= quantized.losses
        for name, weight in (("commitment", c.commitment), ("codebook", c.codebook), ("entropy", c.entropy)):
            loss = loss + weight * quantized.losses.get(name, 0.0)
        if "kl" in quantized.losses:
            loss = loss + kl * quantized.losses["kl"] / np.prod(self.medium.shape)
        if c.adversarial and not judged:  # the curves of both stages have the same names
            parts |= {"adversarial": jnp.zeros(()), "adversarial_weight": jnp.zeros(())}
        if self._scheduled:
            parts |= {"temperature": temperature} if self._relaxed else {}
            parts |= {"kl_weight": kl}
        collections = dict(counted) | ({COMPONENT: moved} if moved else {})
        return loss, Aux(count, {name: mean_of(value, count) for name, value in parts.items()}, collections)

    def discriminator_loss(self, variables: Variables, batch: Batch, key: jax.Array) -> tuple[jax.Array, Aux]:
        """The objective's two parts on images and on what is made of them."""
        images, objective = self.medium.to_model(batch["image"]), OBJECTIVES[self.config.objective]
        _, _, (temperature, _) = self._schedule(variables, 0)
        quantized, _ = self._encode(variables, images, key, temperature)
        outputs = self.model.apply(variables[COMPONENT], quantized.values, method="decode")
        made = jax.lax.stop_gradient(PIXELS[self.config.pixels].image(outputs))
        real, moved = self.judge(variables["discriminator"], images, True)
        fake, moved = self.judge(dict(variables["discriminator"]) | dict(moved), made, True)
        loss = 0.5 * (objective.real(real).mean() + objective.fake(fake).mean())
        metrics = {"logit_real": mean_of(real.mean(), len(images)), "logit_fake": mean_of(fake.mean(), len(images))}
        return loss, Aux(len(images), metrics, {"discriminator": dict(moved)} if moved else {})

    def _encode(self, variables, images, key, temperature) -> tuple[Quantized, Mapping[str, Any]]:
        """What the bottleneck makes of images while training, and its codebook afterwards."""
        settings = {"temperature": temperature} if self._relaxed else {}
        rngs = {RANDOM: jax.random.fold_in(key, 0), "dropout": jax.random.fold_in(key, 2)}
        return self.model.apply(variables[COMPONENT], images, True, **settings, method="encode", rngs=rngs, mutable=[CODEBOOK])

    @property
    def _relaxed(self) -> bool:
        return isinstance(getattr(self.model_config, "bottleneck", None), GumbelConfig)

    @property
    def _scheduled(self) -> bool:
        return bool(self.config.kl_steps) or (self._relaxed and bool(self.config.temperature_steps))

    def _schedule(self, variables: Variables, count: int) -> tuple[Variables, Variables, tuple[Array, Array]]:
        """The variables after so many more images, what of them that is, and temperature and weight of KL for these images."""
        c, (start, end) = self.config, self.config.temperature
        if not self._scheduled:
            return variables, {}, (jnp.asarray(end), jnp.asarray(c.kl))
        seen = variables[SCHEDULE]["moving"]["images"]
        step = seen / self.info.batch_size
        cooled = end + (start - end) * _falling(step, c.temperature_steps)
        moved = {SCHEDULE: {"moving": {"images": seen + count}}}
        return dict(variables) | moved, moved, (cooled, c.kl * (1 - _falling(step, c.kl_steps)))

    def _slopes(self, lost, fooled, last, hidden, outputs) -> Float[Array, ""]:
        """How much steeper what is lost is than what the discriminator says, in the kernel of the decoder's last layer (Esser et
        al., 2021, equation 7, with the bounds of its code)."""
        hidden, outputs = jax.lax.stop_gradient((hidden, outputs))
        own = last["conv_out"]
        _, to_last = jax.vjp(lambda kernel: last_convolution({"conv_out": {**own, "kernel": kernel}}, hidden), own["kernel"])
        steep = [jnp.linalg.norm(to_last(jax.grad(loss)(outputs))[0]) for loss in (lost, fooled)]
        return jax.lax.stop_gradient(jnp.clip(steep[0] / (steep[1] + 1e-4), 0.0, 1e4))

    def evaluate(self, variables: Variables, batch: Batch, key: jax.Array) -> Metrics:
        """Of held-out images: PSNR and SSIM, sharpness (edges of what comes back over those of the images: 1 is as sharp), the
        distance of features where there are some, and which codes are in use."""
        images, weights = self.medium.to_model(batch["image"]), batch["mask"].astype(jnp.float32)
        outputs, quantized = self.model.apply(variables[COMPONENT], images)
        made = jnp.clip(PIXELS[self.config.pixels].image(outputs), -1, 1)
        found = {"psnr": similarity.psnr(made, images)}
        if min(self.medium.shape[:2]) >= similarity.WINDOW:
            found["ssim"] = similarity.ssim(made, images)
        found["pixels"] = PIXELS[self.config.pixels].loss(outputs, images).mean((1, 2, 3))
        if self.perceptual:
            maps = (self.perceptual.maps(variables["features"], x) for x in (made, images))
            found["perceptual"] = distance(*maps)
        sums: dict[str, Any] = {name: ((values * weights).sum(), weights.sum()) for name, values in found.items()}
        before, after = (similarity.edges(x) * weights for x in (images, made))
        sums["sharpness"] = (after.sum(), before.sum())
        for number, (codes, size) in enumerate(self._grids(quantized.codes)):
            rows = jnp.broadcast_to(weights.reshape(-1, *[1] * (codes.ndim - 1)), codes.shape)
            counts = jnp.zeros((size,), jnp.float32).at[codes.reshape(-1)].add(rows.reshape(-1))
            sums[f"{_COUNT}_{number}"] = (counts, rows.sum())
        return sums

    def _grids(self, codes: Any) -> list[tuple[Array, int]]:
        """Each grid of codes with the size of its codebook, the coarser first."""
        each = codes if isinstance(codes, tuple) else (codes,)
        return [(own, grid.bottleneck.codes) for own, grid in zip(each, self.code_grids, strict=False)]

    def summarize(self, metrics: Mapping[str, Any]) -> Mapping[str, float]:
        """Adds of each grid the share of the codes that are in use, and `code_perplexity`: how many are, as if all that are were
        equally frequent."""
        result = {name: value for name, value in metrics.items() if not name.startswith(_COUNT)}
        grids = [name for name in metrics if name.startswith(_COUNT)]
        for name in grids:
            shares, suffix = np.asarray(metrics[name], np.float64), name.removeprefix(_COUNT) if len(grids) > 1 else ""
            used = shares[shares > 0]
            result[f"code_use{suffix}"] = len(used) / len(shares)
            result[f"code_perplexity{suffix}"] = float(np.exp(-(used * np.log(used)).sum()))
        return result

    # Sampling.

    def prepare(self, requests: Sequence[ReconstructionRequest]) -> Sequence[Batch]:
        return prepare(requests, self)

    def sample(self, variables: Variables, batch: Batch, key: jax.Array) -> Batch:
        outputs, quantized = self.model.apply(variables[COMPONENT], self.medium.to_model(batch["image"]))
        found = {"row": batch["row"], "value": self.to_image(outputs)}
        return found | {f"codes_{i}": codes for i, (codes, _) in enumerate(self._grids(quantized.codes))}

    def to_image(self, outputs: Float[Array, "batch height width outputs"]) -> Array:
        """The decoder's outputs as pixels, uint8."""
        return self.medium.from_model(PIXELS[self.config.pixels].image(outputs))

    def present(self, requests: Sequence[ReconstructionRequest], arrays: Sequence[Batch]) -> Sequence[Artifact]:
        return present(requests, arrays, self)

    def example_requests(self) -> Sequence[ReconstructionRequest]:
        return [structure(ReconstructionRequest, dict(values), "config.task.requests") for values in self.config.requests]

    def requests_of_data(self, first: Callable[[], Batch]) -> Sequence[ReconstructionRequest]:
        if self.config.requests:
            return ()
        return [RequestOfData(beside=True, codes=True, pixels=image) for image in first()["image"][:SHOWN]]

    # Figures, and weights of others.

    def pretrained(self, folder: str, shardings: Variables | None) -> Variables:
        """See `autoencoder_weights.load`."""
        if isinstance(self.perceptual, VGGFeatures):
            c = self.perceptual.config
            return placed({"features": public_files.load("vgg", folder, depth=c.depth, layers=c.layers)[1]}, shardings)
        return autoencoder_weights.load(self.model_config, folder, shardings)

    def export(self, folder: str, variables: Variables, **settings: Any) -> None:
        """See `autoencoder_weights.save`."""
        autoencoder_weights.save(self.model_config, folder, variables, self.medium.height, **settings)

    @property
    def flops_per_image(self) -> float:
        """Of a forward pass."""
        return KINDS[type(self.model_config)].flops(self.model_config, *self.medium.shape[:2])

    @property
    def flops_per_step(self) -> float:
        return self.flops_at(self.config.adversarial_start)

    def flops_at(self, step: int) -> float:
        c, shape = self.config, self.medium.shape
        own = self.flops_per_image
        total = 3 * own + (4 * self.perceptual.flops(shape) if c.perceptual else 0.0)
        if c.adversarial and step >= c.adversarial_start:
            total += own + (3 + 6) * self.judge.flops(shape[0])
        return self.info.batch_size * total

    @property
    def units_per_step(self) -> tuple[str, int]:
        return "images", self.info.batch_size

    @property
    def notes(self) -> tuple[str, ...]:
        c = self.config
        told = {name: getattr(c, name) for name in ("perceptual", "adversarial")}
        rules = [c.pixels, *(f"{name} {value:g}" for name, value in told.items() if value)]
        what = " and ".join(map(str, grids(self.model_config, *self.medium.shape[:2])))
        return (f"data: {self.info}", f"an image becomes {what}; trained by {', '.join(rules)}")


def _falling(step: Float[Array, ""], steps: int) -> Float[Array, ""]:
    """From 1 to 0 in so many steps, along half a cosine."""
    return 0.5 * (1 + jnp.cos(jnp.pi * jnp.minimum(step / steps, 1.0))) if steps else jnp.zeros(())


def from_weights(folder: Path, tokenizer: Any, dtype: str = "float32") -> AutoencoderTask:
    """The task for what others have published; images are brought to the size that a folder of diffusers names, or to 256x256."""
    network, size = autoencoder_weights.read(folder, dtype)
    info = ImagesInfo(1, size, size, network.channels, ())
    pixels = "logit_laplace" if isinstance(network, DVAEConfig) else "absolute"
    config = AutoencoderTaskConfig({}, pixels=pixels)
    return AutoencoderTask(network, Images(size, size, network.channels), None, None, config, info)


def build(section: Mapping[str, Any], info: Any, adopted: Mapping[str, Task]) -> AutoencoderTask:
    """The task from `config.task`, what the data knows of itself, and the run whose features compare images."""
    config = structure(AutoencoderTaskConfig, section, "config.task")
    medium = medium_of(info, "autoencoder")
    if not isinstance(medium, Images):
        raise ConfigError(f"config.task.name 'autoencoder' is for images, not {medium.units}.")
    network = make_config(config.network, config.model, medium.channels, PIXELS[config.pixels].outputs)
    if any(side % network.factor for side in medium.shape[:2]):
        raise ConfigError(
            f"images of {medium.height}x{medium.width} pixels do not divide by {network.factor}, as the levels of "
            "config.task.model need; change config.data.image_size, or take fewer levels."
        )
    judge = None
    if config.adversarial:
        if isinstance(network, DVAEConfig):
            raise ConfigError("config.task.adversarial is for the networks 'autoencoder' and 'two_level'; leave it 0.")
        judge = make_judge(config.discriminator, medium.shape)
    return AutoencoderTask(network, medium, _features(config, adopted), judge, config, info)


def _features(config: AutoencoderTaskConfig, adopted: Mapping[str, Task]) -> Perceptual | None:
    if "features" in adopted:
        task = adopted["features"]
        if not compares_images(task):
            raise ConfigError(
                f"config.task.features {config.features} is no run of task 'classification' or 'contrastive' that sees patches, "
                "in layers that are apart (model.scan_layers=False); name one."
            )
        return TransformerFeatures(task)
    return VGGFeatures(structure(VGGConfig, config.vgg, "config.task.vgg")) if config.vgg else None
