"""Super-resolution: images made several times larger, by their pixels alone, or also by a discriminator and by features.

SRGAN (Ledig et al., 2017) and ESRGAN (Wang et al., 2018). The small images are made of the large ones on the device, by cubic
interpolation with antialiasing, so that any images are data.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from genjax.adversarial.objectives import OBJECTIVES, ObjectiveName, relativistic
from genjax.config import check_least, structure
from genjax.data.images import ImagesInfo
from genjax.errors import ConfigError
from genjax.evaluation.images.similarity import psnr
from genjax.interop import public_files
from genjax.models import esrgan, srgan, vgg
from genjax.models.esrgan import ESRGANConfig, RRDBNet
from genjax.models.srgan import SRDiscriminator, SRDiscriminatorConfig, SRResNet, SRResNetConfig
from genjax.models.vgg import VGG, VGGConfig
from genjax.tasks.base import BaseTask
from genjax.tasks.contract import Artifact, Aux, Batch, Metrics, Turn, Variables, mean_of
from genjax.tasks.gan_players import MOVING
from genjax.tasks.gan_weights import in_float32, placed
from genjax.tasks.media import Images
from genjax.tasks.super_resolution_requests import SuperResolutionRequest, prepare, present
from genjax.tasks.translators import structured

NETWORKS: Mapping[str, tuple[type, type]] = {"srresnet": (SRResNetConfig, SRResNet), "rrdb": (ESRGANConfig, RRDBNet)}
LUMINANCE = (65.481 / 255, 128.553 / 255, 24.966 / 255)  # of BT.601, in which papers measure


@dataclass(frozen=True)
class SuperResolutionConfig:
    """The section `config.task`."""

    name: str = "super_resolution"
    network: Literal["srresnet", "rrdb"] = "srresnet"
    # Fields of SRResNetConfig or ESRGANConfig; channels are the data's.
    generator: Mapping[str, Any] = field(default_factory=dict)
    patch: int = 0  # height and width of random crops to learn from; 0: whole images
    pixels: float = 1.0  # weight of the mean absolute difference
    adversarial: float = 0.0  # of the discriminator (SRGAN 1e-3, ESRGAN 5e-3); 0: there is none
    objective: ObjectiveName = "non_saturating"
    relative: bool = True  # whether real and made images are judged beside each other (ESRGAN, section 3.2)
    discriminator: Mapping[str, Any] = field(default_factory=dict)  # fields of SRDiscriminatorConfig; size and channels follow
    # Of the mean absolute difference of features (ESRGAN 1). They are VGG's: its weights come from a file, train.init_from.
    perceptual: float = 0.0
    features: Mapping[str, Any] = field(default_factory=dict)  # fields of VGGConfig
    requests: tuple[Mapping[str, Any], ...] = ()  # of `train.sample_every`, as objects with fields of SuperResolutionRequest

    def __post_init__(self):
        check_least(self, "config.task", (), ("patch", "pixels", "adversarial", "perceptual"))


@dataclass(frozen=True)
class SuperResolution(BaseTask):
    """A generator of larger images behind the contract. FLOPs are those of the networks' passes as models/ counts them, three
    forward passes for one with its gradients."""

    generator: nn.Module
    discriminator: SRDiscriminator
    features: VGG
    medium: Images
    config: SuperResolutionConfig
    info: ImagesInfo

    request_type = SuperResolutionRequest
    makes = "image"

    @property
    def scale(self) -> int:
        return self.generator.config.scale

    @property
    def side(self) -> int:
        """Of what is learned from."""
        return self.discriminator.config.image_size

    @property
    def batch_spec(self):
        rows = self.info.batch_size
        number = jax.ShapeDtypeStruct((rows,), jnp.int32)
        return {"image": jax.ShapeDtypeStruct((rows, *self.medium.shape), jnp.uint8), "label": number, "mask": number}

    @property
    def turns(self):
        make = Turn("generator", ("generator/params/*",), self.generator_loss, "generator_optimizer")
        judge = Turn("discriminator", ("discriminator/params/*",), self.discriminator_loss, "discriminator_optimizer")
        return (judge, make) if self.config.adversarial else (make,)

    def init(self, key):
        keys = jax.random.split(key, 3)
        small, channels = self.side // self.scale, self.medium.channels
        variables = {"generator": self.generator.init(keys[0], jnp.zeros((1, small, small, channels)))}
        large = jnp.zeros((1, self.side, self.side, channels))
        if self.config.adversarial:
            variables["discriminator"] = self.discriminator.init(keys[1], large)
        if self.config.perceptual:
            variables["features"] = self.features.init(keys[2], large)
        return variables

    def pretrained(self, folder: str, shardings: Variables | None) -> Variables:
        """VGG's weights from a file of torchvision's, or the generator's from one of ESRGAN's."""
        path = Path(folder)
        if public_files.is_vgg(path):
            if not self.config.perceptual:
                raise ConfigError(f"train.init_from names VGG's weights {path}, but config.task.perceptual is 0; set it.")
            c = self.features.config
            return placed({"features": public_files.load("vgg", path, depth=c.depth, layers=c.layers)[1]}, shardings)
        found, variables = public_files.load("esrgan", path)
        if not isinstance(self.generator, RRDBNet) or found != self.generator.config:
            raise ConfigError(f"{path} holds the generator {found}; set config.task.network 'rrdb' and its fields to it.")
        return placed({"generator": variables}, shardings)

    def export(self, folder: str, variables: Variables, **settings: Any) -> None:
        """Writes the generator in ESRGAN's layout, in float32."""
        if not isinstance(self.generator, RRDBNet):
            raise ConfigError("there is no public layout of SRResNet to export to.")
        public_files.save("esrgan", self.generator.config, variables["generator"], folder, **in_float32(settings))

    # Training.

    def _pair(self, batch: Batch, key: jax.Array) -> tuple[Array, Array]:
        """Small images and the large ones that they are of; crops where the config says so."""
        large = self.medium.to_model(batch["image"])
        side, room = self.side, jnp.array(self.medium.shape[:2]) - self.side
        if self.config.patch:
            starts = jax.random.randint(key, (len(large), 2), 0, room + 1)
            crop = lambda image, start: jax.lax.dynamic_slice(image, (*start, 0), (side, side, image.shape[-1]))  # noqa: E731
            large = jax.vmap(crop)(large, starts)
        return reduced(large, self.scale), large

    def discriminator_loss(self, variables: Variables, batch: Batch, key: jax.Array) -> tuple[jax.Array, Aux]:
        small, large = self._pair(batch, key)
        made, _ = self._make(variables, small)
        objective = OBJECTIVES[self.config.objective]
        real, moved = self._judge(variables["discriminator"], large)
        fake, moved = self._judge(dict(variables["discriminator"]) | dict(moved), jax.lax.stop_gradient(made))
        first, second = (relativistic(real, fake), relativistic(fake, real)) if self.config.relative else (real, fake)
        loss = objective.real(first).mean() + objective.fake(second).mean()
        metrics = {"logit_real": mean_of(real.mean(), len(large)), "logit_fake": mean_of(fake.mean(), len(large))}
        return loss, Aux(len(large), metrics, {"discriminator": dict(moved)} if moved else {})

    def generator_loss(self, variables: Variables, batch: Batch, key: jax.Array) -> tuple[jax.Array, Aux]:
        """The weighed sum of differences of pixels and of features, and of what the discriminator says."""
        c = self.config
        small, large = self._pair(batch, key)
        made, moved = self._make(variables, small)
        parts = {"pixels": jnp.abs(made - large).mean()}
        if c.perceptual:
            pairs = zip(*(self.features.apply(variables["features"], x).values() for x in (made, large)), strict=True)
            parts["perceptual"] = sum(jnp.abs(a - b).mean() for a, b in pairs)
        if c.adversarial:
            objective = OBJECTIVES[c.objective]
            fake, _ = self._judge(variables["discriminator"], made)
            parts["adversarial"] = objective.generator(fake).mean()
            if c.relative:  # each of both is to be taken for the other (equation 2)
                real, _ = self._judge(variables["discriminator"], large)
                worse, better = objective.fake(relativistic(real, fake)), objective.real(relativistic(fake, real))
                parts["adversarial"] = worse.mean() + better.mean()
        loss = sum(getattr(c, name) * value for name, value in parts.items())
        metrics = {name: mean_of(value, len(large)) for name, value in parts.items()}
        return loss, Aux(len(large), metrics, {"generator": moved} if moved else {})

    def _make(self, variables: Variables, small: Array) -> tuple[Array, Mapping[str, Any]]:
        return self.generator.apply(variables["generator"], small, train=True, mutable=MOVING)

    def _judge(self, variables: Mapping[str, Any], images: Array) -> tuple[Array, Mapping[str, Any]]:
        return self.discriminator.apply(variables, images, train=True, mutable=MOVING)

    def evaluate(self, variables: Variables, batch: Batch, key: jax.Array) -> Metrics:
        """Peak signal to noise ratios in dB of whole images, and beside them those of cubic interpolation: of all channels, and,
        of colours, of the luminance without a border of `scale` pixels, as papers measure."""
        large, weights = self.medium.to_model(batch["image"]), batch["mask"].astype(jnp.float32)
        small = reduced(large, self.scale)
        made = self.generator.apply(variables["generator"], small)
        sums = {}
        for name, x in (("made", made), ("cubic", enlarged(small, self.scale))):
            x = jnp.clip(x, -1, 1)
            sums[f"psnr_{name}"] = ((psnr(x, large) * weights).sum(), weights.sum())
            if self.medium.channels == 3:
                light = [_luminance(y)[:, self.scale : -self.scale, self.scale : -self.scale] for y in (x, large)]
                sums[f"psnr_y_{name}"] = ((psnr(*light) * weights).sum(), weights.sum())
        return sums

    # Sampling.

    def prepare(self, requests: Sequence[SuperResolutionRequest]) -> Sequence[Batch]:
        return prepare(requests, self)

    def sample(self, variables: Variables, batch: Batch, key: jax.Array) -> Batch:
        small = self.medium.to_model(batch["image"])
        found = {"row": batch["row"], "value": self.medium.from_model(self.generator.apply(variables["generator"], small))}
        return found | {"cubic": self.medium.from_model(enlarged(small, self.scale))}

    def present(self, requests: Sequence[SuperResolutionRequest], arrays: Sequence[Batch]) -> Sequence[Artifact]:
        return present(requests, arrays, self)

    def example_requests(self) -> Sequence[SuperResolutionRequest]:
        return [structure(SuperResolutionRequest, dict(values), "config.task.requests") for values in self.config.requests]

    # Figures.

    @property
    def flops_per_step(self) -> float:
        c, small = self.config, self.side // self.scale
        flops = srgan.generator_flops if isinstance(self.generator, SRResNet) else esrgan.forward_flops
        make, judge = flops(self.generator.config, small, small), srgan.discriminator_flops(self.discriminator.config)
        total = 3 * make + (make + (6 + 3 + c.relative) * judge) * bool(c.adversarial)
        return self.info.batch_size * (total + 3 * vgg.forward_flops(self.features.config, self.side) * bool(c.perceptual))

    @property
    def units_per_step(self) -> tuple[str, int]:
        return "images", self.info.batch_size

    @property
    def notes(self) -> tuple[str, ...]:
        weights = {name: getattr(self.config, name) for name in ("pixels", "adversarial", "perceptual")}
        rules = ", ".join(f"{name} {value:g}" for name, value in weights.items() if value)
        return (f"data: {self.info}", f"{self.config.network}, {self.scale} times larger, from {self.side} pixels; {rules}")


def reduced(
    large: Float[Array, "batch height width channels"], scale: int
) -> Float[Array, "batch low_height low_width channels"]:
    """By cubic interpolation with antialiasing (as Pillow's and MATLAB's imresize, up to rounding to bytes)."""
    batch, height, width, channels = large.shape
    return jax.image.resize(large, (batch, height // scale, width // scale, channels), "cubic", antialias=True)


def enlarged(
    small: Float[Array, "batch height width channels"], scale: int
) -> Float[Array, "batch new_height new_width channels"]:
    """By cubic interpolation."""
    batch, height, width, channels = small.shape
    return jax.image.resize(small, (batch, scale * height, scale * width, channels), "cubic")


def _luminance(x: Float[Array, "batch height width 3"]) -> Float[Array, "batch height width 1"]:
    return (x * jnp.array(LUMINANCE)).sum(-1, keepdims=True)


def build(section: Mapping[str, Any], info: Any) -> SuperResolution:
    """The task from `config.task` and what the data knows of itself."""
    config = structure(SuperResolutionConfig, section, "config.task")
    if not isinstance(info, ImagesInfo):
        raise ConfigError("config.task.name 'super_resolution' needs images; set config.data.name to 'images'.")
    if not info.height:
        raise ConfigError("config.data.image_size is 0; set it, where the task is built without its data.")
    medium, (config_type, module) = Images(info.height, info.width, info.channels), NETWORKS[config.network]
    network = module(structured(config_type, config.generator, {"channels": medium.channels}, "generator"))
    side = config.patch or medium.height
    if side > medium.height or any(number % network.config.scale for number in (side, medium.height)):
        raise ConfigError(
            f"config.task.patch {config.patch} and images of {medium.height} pixels must be multiples of "
            f"{network.config.scale}, the scale, and the patch no larger than the images."
        )
    if network.config.scale < 2:
        raise ConfigError("config.task.generator.scale is 1, which makes nothing larger; use 2 or 4.")
    judge, features = SRDiscriminatorConfig(side, medium.channels, stages=1), VGGConfig()
    if config.adversarial:
        judge = structured(
            SRDiscriminatorConfig, config.discriminator, {"image_size": side, "channels": medium.channels}, "discriminator"
        )
    if config.perceptual:
        features = structured(VGGConfig, config.features, {}, "features")
        if medium.channels != 3:
            raise ConfigError("config.task.perceptual looks at colours; set config.data.channels to 3.")
    return SuperResolution(network, SRDiscriminator(judge), VGG(features), medium, config, info)
