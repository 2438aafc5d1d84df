"""Images to images by adversarial training: pix2pix from pairs (Isola et al., 2017), CycleGAN without (Zhu et al., 2017).

Both have a turn of the discriminators and one of the generators. What a discriminator learns from counts half, as in the papers,
so that it learns slower than the generator.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from genjax.adversarial import pool
from genjax.adversarial.feature_matching import feature_matching
from genjax.adversarial.objectives import OBJECTIVES, ObjectiveName
from genjax.adversarial.pool import ImagePool
from genjax.config import check_least, structure
from genjax.data.image_pairs import ImagePairsInfo
from genjax.errors import ConfigError
from genjax.evaluation.images.similarity import psnr
from genjax.tasks import image_to_image_weights
from genjax.tasks.base import BaseTask
from genjax.tasks.contract import Artifact, Aux, Batch, Metrics, Turn, Variables, mean_of
from genjax.tasks.gan_weights import in_float32, placed
from genjax.tasks.image_to_image_requests import ImageToImageRequest, prepare, present
from genjax.tasks.media import Images
from genjax.tasks.sample_rows import row_keys
from genjax.tasks.translators import Judge, Translator, make_judge, make_translator

POOL = "pool"  # the collection of a component that holds earlier images


@dataclass(frozen=True)
class ImageToImageConfig:
    """The section `config.task`."""

    name: str = "image_to_image"
    method: Literal["pix2pix", "cyclegan"] = "pix2pix"
    network: Literal["unet", "resnet"] = "unet"  # the generator's: that of pix2pix, or of CycleGAN
    # Fields of Pix2PixConfig or CycleGANConfig, and of PatchGANConfig; channels are the data's.
    generator: Mapping[str, Any] = field(default_factory=dict)
    discriminator: Mapping[str, Any] = field(default_factory=dict)
    objective: ObjectiveName = "non_saturating"  # CycleGAN, published: least_squares
    reconstruction: float = 100.0  # pix2pix: weight of the mean absolute difference from the wanted image
    # pix2pix: weight of the difference between what the discriminator's layers see of the two images (pix2pixHD: 10); 0: none
    feature_matching: float = 0.0
    cycle: float = 10.0  # cyclegan: of that between an image and what comes back of it
    identity: float = 0.5  # cyclegan: of that between an image of the wanted kind and what is made of it, times cycle
    pool_size: int = 50  # cyclegan: earlier images of which the discriminators see some
    # Requests of `train.sample_every`, as objects with fields of ImageToImageRequest.
    requests: tuple[Mapping[str, Any], ...] = ()

    def __post_init__(self):
        check_least(self, "config.task", (), ("reconstruction", "feature_matching", "cycle", "identity", "pool_size"))
        if self.feature_matching and self.method == "cyclegan":
            raise ConfigError(
                "config.task.feature_matching compares what is made with the image that was wanted, and method 'cyclegan' has no "
                "pairs; set it to 0."
            )


@dataclass(frozen=True)
class ImageToImage(BaseTask):
    """What pix2pix and CycleGAN share. FLOPs are those of the networks' passes as models/ counts them, three forward passes for
    one with its gradients."""

    translator: Translator
    judge: Judge
    medium: Images
    config: ImageToImageConfig
    info: ImagePairsInfo

    request_type = ImageToImageRequest
    makes = "image"
    # Each way from one kind of images to the other: the components of its generator and of the discriminator that judges its
    # results, and the batch's columns of what is given and what is wanted.
    ways: tuple[tuple[str, str, str, str], ...] = (("generator", "discriminator", "source", "target"),)

    @property
    def batch_spec(self):
        rows = self.info.batch_size
        image = jax.ShapeDtypeStruct((rows, *self.medium.shape), jnp.uint8)
        return {"source": image, "target": image, "mask": jax.ShapeDtypeStruct((rows,), jnp.int32)}

    @property
    def turns(self):
        judges, makers = ([way[place] for way in self.ways] for place in (1, 0))
        return (
            Turn("discriminator", _params(judges), self.discriminator_loss, "discriminator_optimizer"),
            Turn("generator", _params(makers), self.generator_loss, "generator_optimizer"),
        )

    def init(self, key):
        variables: dict[str, Any] = {}
        for number, (maker, judge, _, _) in enumerate(self.ways):
            first, second = jax.random.split(jax.random.fold_in(key, number))
            variables[maker] = self.translator.init(first, self.medium.shape)
            variables[judge] = self.judge.init(second, self.medium.shape)
        return variables

    def _images(self, batch: Batch) -> dict[str, Float[Array, "batch height width channels"]]:
        return {name: self.medium.to_model(batch[name]) for name in ("source", "target")}

    def _judged(self, variables: Variables, component: str, real: Array, fake: Array) -> tuple[Array, dict, dict[str, Any]]:
        """Half the objective of a discriminator, over images and patches; metrics; and its moving statistics."""
        objective = OBJECTIVES[self.config.objective]
        real_logits, moved = self.judge(variables[component], real, train=True)
        between = dict(variables[component]) | dict(moved)
        fake_logits, moved = self.judge(between, fake, train=True)
        loss = 0.5 * (objective.real(real_logits).mean() + objective.fake(fake_logits).mean())
        metrics = {
            name: mean_of(logits.mean(), len(real)) for name, logits in (("logit_real", real_logits), ("logit_fake", fake_logits))
        }
        return loss, metrics, {component: dict(moved)} if moved else {}

    def _fooled(self, variables: Variables, component: str, fake: Array) -> tuple[Array, tuple[Array, ...]]:
        """The generator's part of the objective, and what the discriminator's layers see."""
        logits, seen = self.judge.with_features(variables[component], fake)
        return OBJECTIVES[self.config.objective].generator(logits).mean(), seen

    def evaluate(self, variables: Variables, batch: Batch, key: jax.Array) -> Metrics:
        """Of pairs: the mean absolute difference between what is made and what is wanted (of values in [-1, 1]), the peak signal
        to noise ratio in dB, and, beside them, those of the given image as it is."""
        images, weights = self._images(batch), batch["mask"].astype(jnp.float32)
        sums = {}
        for number, (maker, _, given, wanted) in enumerate(self.ways):
            made = self.translator.alone(variables[maker], images[given], jax.random.split(key, len(weights)))
            name = f"_{given}_to_{wanted}" if len(self.ways) > 1 else ""
            sums |= _differences(f"made{name}", made, images[wanted], weights)
            if not number:
                sums |= _differences("copied", images[given], images[wanted], weights)
        return sums

    # Sampling.

    def prepare(self, requests: Sequence[ImageToImageRequest]) -> Sequence[Batch]:
        return prepare(requests, self)

    def sample(self, variables: Variables, batch: Batch, key: jax.Array) -> Batch:
        made = [
            self.translator.alone(variables[maker], self.medium.to_model(batch["image"]), row_keys(key, batch["row"]))
            for maker, *_ in self.ways
        ]
        chosen = made[0]
        if len(made) > 1:
            chosen = jnp.where(batch["reverse"][:, None, None, None], made[1], made[0])
        return {"row": batch["row"], "value": self.medium.from_model(chosen)}

    def present(self, requests: Sequence[ImageToImageRequest], arrays: Sequence[Batch]) -> Sequence[Artifact]:
        return present(requests, arrays, self)

    def example_requests(self) -> Sequence[ImageToImageRequest]:
        return [structure(ImageToImageRequest, dict(values), "config.task.requests") for values in self.config.requests]

    # Weights of others, and figures.

    def pretrained(self, folder: str, shardings: Variables | None) -> Variables:
        """The networks of a folder in the layout of public code; see `image_to_image_weights.load`."""
        return placed(image_to_image_weights.load(self, folder), shardings)

    def export(self, folder: str, variables: Variables, **settings: Any) -> None:
        """Writes all networks in that layout, in float32."""
        image_to_image_weights.save(self, folder, variables, **in_float32(settings))

    @property
    def units_per_step(self) -> tuple[str, int]:
        return "images", self.info.batch_size

    @property
    def notes(self) -> tuple[str, ...]:
        return (f"data: {self.info}", f"{self.config.method}: {self.config.network}, {self.config.objective}")


@dataclass(frozen=True)
class Pix2Pix(ImageToImage):
    """A generator that learns from pairs, and a discriminator that sees both images of one."""

    def discriminator_loss(self, variables: Variables, batch: Batch, key: jax.Array) -> tuple[jax.Array, Aux]:
        (maker, judge, *_), images = self.ways[0], self._images(batch)
        made, _ = self.translator(variables[maker], images["source"], key)
        pair = lambda x: jnp.concatenate([images["source"], x], axis=-1)  # noqa: E731
        loss, metrics, moved = self._judged(variables, judge, pair(images["target"]), pair(jax.lax.stop_gradient(made)))
        return loss, Aux(len(made), metrics, moved)

    def generator_loss(self, variables: Variables, batch: Batch, key: jax.Array) -> tuple[jax.Array, Aux]:
        c, (maker, judge, *_), images = self.config, self.ways[0], self._images(batch)
        made, moved = self.translator(variables[maker], images["source"], key)
        pair = lambda x: jnp.concatenate([images["source"], x], axis=-1)  # noqa: E731
        fooled, seen = self._fooled(variables, judge, pair(made))
        parts = {"adversarial": fooled, "difference": jnp.abs(made - images["target"]).mean()}
        loss = fooled + c.reconstruction * parts["difference"]
        if c.feature_matching:
            wanted = self.judge.with_features(variables[judge], pair(images["target"]))[1]
            parts["feature_matching"] = feature_matching(wanted, seen)
            loss += c.feature_matching * parts["feature_matching"]
        metrics = {name: mean_of(value, len(made)) for name, value in parts.items()}
        return loss, Aux(len(made), metrics, {maker: moved} if moved else {})

    @property
    def flops_per_step(self) -> float:
        make, judge = self.translator.flops(self.medium.height), self.judge.flops(self.medium.height)
        return self.info.batch_size * (make + 6 * judge + 3 * (make + judge) + judge * bool(self.config.feature_matching))


@dataclass(frozen=True)
class CycleGAN(ImageToImage):
    """Two generators, each the way back of the other, and a discriminator of each kind, which sees some images of before."""

    ways: tuple[tuple[str, str, str, str], ...] = (
        ("generator", "discriminator_target", "source", "target"),
        ("generator_back", "discriminator_source", "target", "source"),
    )

    def init(self, key):
        variables = super().init(key)
        for _, judge, _, _ in self.ways:
            variables[judge] = dict(variables[judge]) | {
                POOL: pool.empty(self.config.pool_size, self.medium.shape).as_collection()
            }
        return variables

    def discriminator_loss(self, variables: Variables, batch: Batch, key: jax.Array) -> tuple[jax.Array, Aux]:
        images, total = self._images(batch), jnp.zeros((), jnp.float32)
        metrics, collections = {}, {}
        for number, (maker, judge, given, wanted) in enumerate(self.ways):
            make_key, pool_key = jax.random.split(jax.random.fold_in(key, number))
            made, _ = self.translator(variables[maker], images[given], make_key)
            earlier = ImagePool(**variables[judge][POOL])
            shown, kept = pool.exchange(earlier, jax.lax.stop_gradient(made), pool_key)
            loss, found, moved = self._judged(variables, judge, images[wanted], shown)
            total += loss
            metrics |= {f"{name}_of_{wanted}": value for name, value in found.items()}
            collections[judge] = moved.get(judge, {}) | {POOL: kept.as_collection()}
        return total, Aux(len(batch["mask"]), metrics, collections)

    def generator_loss(self, variables: Variables, batch: Batch, key: jax.Array) -> tuple[jax.Array, Aux]:
        c, images, collections = self.config, self._images(batch), {}
        parts: dict[str, list[Array]] = {"adversarial": [], "cycle": [], "identity": []}
        for number, (maker, judge, given, wanted) in enumerate(self.ways):
            keys = jax.random.split(jax.random.fold_in(key, number), 3)
            back = self.ways[1 - number][0]
            made, moved = self.translator(variables[maker], images[given], keys[0])
            returned, _ = self.translator(variables[back], made, keys[1])
            parts["adversarial"].append(self._fooled(variables, judge, made)[0])
            parts["cycle"].append(jnp.abs(returned - images[given]).mean())
            if c.identity:
                same, _ = self.translator(variables[maker], images[wanted], keys[2])
                parts["identity"].append(jnp.abs(same - images[wanted]).mean())
            if moved:
                collections[maker] = moved
        sums = {name: sum(values) for name, values in parts.items() if values}
        loss = sums["adversarial"] + c.cycle * (sums["cycle"] + c.identity * sums.get("identity", 0.0))
        rows = len(batch["mask"])
        return loss, Aux(rows, {name: mean_of(value, rows) for name, value in sums.items()}, collections)

    @property
    def flops_per_step(self) -> float:
        make, judge = self.translator.flops(self.medium.height), self.judge.flops(self.medium.height)
        passes = 2 + bool(self.config.identity)
        return 2 * self.info.batch_size * (make + 6 * judge + 3 * (passes * make + judge))


def _params(components: Sequence[str]) -> tuple[str, ...]:
    return tuple(f"{name}/params/*" for name in components)


def _differences(name: str, made: Array, wanted: Array, weights: Array) -> dict[str, tuple[Array, Array]]:
    found = {"difference": jnp.abs(made - wanted).mean((1, 2, 3)), "psnr": psnr(made, wanted)}
    return {f"{name}_{measure}": ((value * weights).sum(), weights.sum()) for measure, value in found.items()}


def build(section: Mapping[str, Any], info: Any) -> ImageToImage:
    """The task from `config.task` and what the data knows of itself."""
    config = structure(ImageToImageConfig, section, "config.task")
    if not isinstance(info, ImagePairsInfo):
        raise ConfigError("config.task.name 'image_to_image' needs two images a row; set config.data.name to 'image_pairs'.")
    if config.method == "pix2pix" and not info.paired:
        raise ConfigError("config.task.method 'pix2pix' learns from pairs, but data.layout is 'unpaired'; use 'cyclegan'.")
    if not info.height:
        raise ConfigError("config.data.image_size is 0; set it, where the task is built without its data.")
    medium = Images(info.height, info.width, info.channels)
    translator = make_translator(config.network, config.generator, medium.shape)
    pairs = config.method == "pix2pix"
    judge = make_judge(config.discriminator, (*medium.shape[:2], medium.channels * (1 + pairs)))
    return (Pix2Pix if pairs else CycleGAN)(translator, judge, medium, config, info)
