"""Images to classes with a ViT (Dosovitskiy et al., 2021)."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from genjax.config import choose, plain, structure
from genjax.data.images import ImagesInfo
from genjax.errors import CheckpointError, ConfigError, RequestError
from genjax.interop import folders, huggingface
from genjax.interop.preprocessor import FILE, HALF, Preprocessor, read_preprocessor, to_json
from genjax.models.encoder_sizes import VIT_SIZES
from genjax.models.vit import ViT, ViTConfig, flops_per_image
from genjax.tasks import attention
from genjax.tasks.base import BaseTask
from genjax.tasks.contract import Artifact, AttentionMap, Aux, Batch, Metrics, Turn, Variables
from genjax.tasks.image_batches import check_channels, normalize, read_request_images, row_batches, unbatched
from genjax.tasks.losses import token_cross_entropy

TOP = 5  # the wider net of the second accuracy


@dataclass(frozen=True)
class ClassificationConfig:
    """The section `config.task`."""

    model: Mapping[str, Any]  # fields of ViTConfig; `size` takes the rest from a row of models/encoder_sizes.py
    name: str = "classification"
    label_smoothing: float = 0.0  # the share of each target that all classes have evenly (Szegedy et al., 2016, section 7)
    mixup: float = 0.0  # alpha of Beta(alpha, alpha), which mixes two images and their losses (Zhang et al., 2018); 0: none
    mean: tuple[float, ...] = (0.5,)  # of each channel or of all, as a share of the range; pixels become (x / 255 - mean) / std
    std: tuple[float, ...] = (0.5,)

    def __post_init__(self):
        if not 0 <= self.label_smoothing < 1:
            raise ConfigError(f"config.task.label_smoothing is {self.label_smoothing}; it must be at least 0 and below 1.")
        if self.mixup < 0:
            raise ConfigError(f"config.task.mixup is {self.mixup}; it must be 0 or more.")


@dataclass(frozen=True)
class ClassificationRequest:
    """One image to name."""

    image: str = field(metadata={"help": "an image file"})
    top_k: int = field(default=TOP, metadata={"help": "how many classes to give, the likeliest first"})


@dataclass(frozen=True)
class Classification(BaseTask):
    """A ViT under cross-entropy. FLOPs follow `models.vit.flops_per_image`; what remat computes again is not counted."""

    model_config: ViTConfig
    info: ImagesInfo
    preprocessor: Preprocessor
    config: ClassificationConfig

    request_type = ClassificationRequest

    @functools.cached_property
    def model(self) -> ViT:
        return ViT(self.model_config)

    @property
    def batch_spec(self):
        rows, size = self.info.batch_size, (self.info.height, self.info.width, self.info.channels)
        numbers = jax.ShapeDtypeStruct((rows,), jnp.int32)
        return {"image": jax.ShapeDtypeStruct((rows, *size), jnp.uint8), "label": numbers, "mask": numbers}

    @property
    def turns(self):
        return (Turn("classification", ("vit/params/*",), self.loss),)

    def init(self, key):
        c = self.model_config
        size = (c.grid[0] * c.patch_size, c.grid[1] * c.patch_size)
        return {"vit": self.model.init(key, jnp.zeros((1, *size, c.channels)))}

    def loss(self, variables: Variables, batch: Batch, key: jax.Array) -> tuple[jax.Array, Aux]:
        """Mean cross-entropy in nats against smoothed labels."""
        images, labels = normalize(batch["image"], self.preprocessor), batch["label"]
        weights = batch["mask"].astype(jnp.float32)
        dropout_key, share_key = jax.random.split(key)
        share, others = 1.0, labels
        if self.config.mixup:
            # One share for the batch, whose rows come in a random order: each meets the one that stands opposite.
            share = jax.random.beta(share_key, self.config.mixup, self.config.mixup)
            images = share * images + (1 - share) * images[::-1]
            others = labels[::-1]
        logits = self._logits(variables, images, dropout_key)
        smoothing = self.config.label_smoothing
        nats = share * token_cross_entropy(logits, labels, 0.0, smoothing)
        if self.config.mixup:
            nats += (1 - share) * token_cross_entropy(logits, others, 0.0, smoothing)
        weight = jnp.sum(weights)
        correct = jnp.sum((jnp.argmax(logits, -1) == labels) * weights)
        return jnp.sum(nats * weights) / jnp.maximum(weight, 1.0), Aux(weight, {"accuracy": (correct, weight)})

    def evaluate(self, variables: Variables, batch: Batch, key: jax.Array) -> Metrics:
        """Loss against the labels as they are; the shares of images whose class is the likeliest, and one of the likeliest 5."""
        logits = self._logits(variables, normalize(batch["image"], self.preprocessor))
        labels, weights = batch["label"], batch["mask"].astype(jnp.float32)
        weight = jnp.sum(weights)
        ranked = jax.lax.top_k(logits, min(TOP, logits.shape[-1]))[1] == labels[:, None]
        sums = {
            "loss": (jnp.sum(token_cross_entropy(logits, labels) * weights), weight),
            "accuracy": (jnp.sum(ranked[:, 0] * weights), weight),
        }
        if logits.shape[-1] > TOP:
            sums[f"top_{TOP}"] = (jnp.sum(ranked.any(-1) * weights), weight)
        return sums

    def _logits(self, variables: Variables, images: jax.Array, key: jax.Array | None = None) -> jax.Array:
        dropping = key is not None and self.model_config.dropout > 0
        return self.model.apply(
            variables["vit"], images, deterministic=not dropping, rngs={"dropout": key} if dropping else None
        ).logits

    @property
    def flops_per_step(self) -> float:
        return self.info.batch_size * flops_per_image(self.model_config)

    @property
    def units_per_step(self) -> tuple[str, int]:
        return "images", self.info.batch_size

    @property
    def notes(self) -> tuple[str, ...]:
        return (f"data: {self.info}",)

    def prepare(self, requests: Sequence[ClassificationRequest]) -> Sequence[Batch]:
        for request in requests:
            if request.top_k < 1:
                raise RequestError(f"top_k is {request.top_k}; it must be at least 1.")
        files = [request.image for request in requests]
        images = read_request_images(files, self.preprocessor, self.model_config.channels)
        return [{"image": batch} for batch in row_batches(images)]

    def sample(self, variables: Variables, batch: Batch, key: jax.Array) -> Batch:
        logits = self._logits(variables, normalize(batch["image"], self.preprocessor))
        return {"probabilities": jax.nn.softmax(logits)}

    def present(self, requests: Sequence[ClassificationRequest], arrays: Sequence[Batch]) -> Sequence[Artifact]:
        found = unbatched([batch["probabilities"] for batch in arrays], len(requests))
        return [self._artifact(*pair) for pair in zip(requests, found, strict=True)]

    def attention(self, variables: Variables, request: ClassificationRequest) -> Sequence[AttentionMap]:
        """What the class token sees of the image."""
        picture = read_request_images([request.image], self.preprocessor, self.model_config.channels)[0]
        network = attention.unrolled(self.model, variables["vit"]["params"])
        image = normalize(jnp.asarray(picture), self.preprocessor)
        seen = np.broadcast_to(picture, (*picture.shape[:2], 3))
        return attention.of_image(*network, image, seen, self.model_config.patch_size, "features")

    def _artifact(self, request: ClassificationRequest, probabilities: np.ndarray) -> Artifact:
        names = self.info.classes
        best = np.argsort(-probabilities, kind="stable")[: request.top_k]
        listed = [{"class": names[i], "probability": round(float(probabilities[i]), 6)} for i in best]
        width = max(len(entry["class"]) for entry in listed)
        text = "\n".join(f"{entry['class']:<{width}}  {entry['probability']:7.2%}" for entry in listed)
        return Artifact("text", text, {"image": request.image, "classes": listed})

    def pretrained(self, folder: str, shardings: Variables | None) -> Variables:
        """The weights of a Hugging Face folder; where its classes are others in number, the classifier stays as it is."""
        _, found = huggingface.read_config(folder)
        if not isinstance(found, ViTConfig):
            raise CheckpointError(f"{folder} holds no ViT, which this task trains.")
        keeps_head = found.num_classes == self.model_config.num_classes
        config = self.model_config if keeps_head else dataclasses.replace(self.model_config, num_classes=0)
        place = None if shardings is None else dict(shardings["vit"]["params"])
        if place is not None and not keeps_head:
            place.pop("head")
        return {"vit": {"params": huggingface.load(folder, place, config=config)}}

    def export(self, folder: str | Path, variables: Variables, **settings: Any) -> None:
        """Writes a Hugging Face folder that transformers reads, with the names of the classes and how images are prepared."""
        names = dict(enumerate(self.info.classes))
        values = {"id2label": {str(i): name for i, name in names.items()}, "label2id": {name: i for i, name in names.items()}}
        kind = "ViTImageProcessor" if self.preprocessor.fit == "stretch" else "CLIPImageProcessor"  # the one that crops
        files = {FILE: to_json(self._for_channels(), kind)}
        params = variables["vit"]["params"]
        huggingface.save(folder, params, self.model_config, values=values, files=files, **settings)

    def _for_channels(self) -> Preprocessor:
        """With a mean and std for every channel, as transformers wants them."""
        p, channels = self.preprocessor, self.model_config.channels
        if len(p.mean) == channels:
            return p
        return dataclasses.replace(p, mean=p.mean * channels, std=p.std * channels)


def from_weights(folder: Path, tokenizer: Any, dtype: str = "float32") -> Classification:
    """The task for a Hugging Face folder of a ViT with a classifier.

    Raises:
        CheckpointError: a ViT without a classifier, or images prepared in a way that genjax does not have.
    """
    _, network = huggingface.read_config(folder)
    if not network.num_classes:
        raise CheckpointError(f"{folder} holds a ViT without a classifier, and no task samples from it.")
    network = dataclasses.replace(network, dtype=dtype)
    height, width = (side * network.patch_size for side in network.grid)
    preprocessor = read_preprocessor(folder, Preprocessor(height, width, "stretch", 0, "bilinear", HALF, HALF))
    given = folders.read_json(folder / "config.json").get("id2label") or {}
    classes = tuple(str(given.get(str(i), f"LABEL_{i}")) for i in range(network.num_classes))
    info = ImagesInfo(1, preprocessor.height, preprocessor.width, network.channels, classes, preprocessor.fit)
    config = ClassificationConfig(model={}, mean=preprocessor.mean, std=preprocessor.std)
    return Classification(network, info, preprocessor, config)


def build(section: Mapping[str, Any], info: ImagesInfo) -> Classification:
    """The task from `config.task` and what the data knows of itself."""
    if not isinstance(info, ImagesInfo):
        raise ConfigError("config.task.name 'classification' needs images with classes; set config.data.name to 'images'.")
    config = structure(ClassificationConfig, section, "config.task")
    values = dict(config.model)
    size = values.pop("size", "")
    base = plain(choose("config.task.model.size:", size, VIT_SIZES)) if size else {}
    given = {"num_classes": len(info.classes), "channels": info.channels}
    if info.height:
        given["image_size"] = info.height
    network = structure(ViTConfig, base | given | values, "config.task.model")
    if not info.height:  # described without data: the images are of the size that the model is made for
        height, width = (side * network.patch_size for side in network.grid)
        info = dataclasses.replace(info, height=height, width=width)
    if not network.num_classes or len(info.classes) not in (0, network.num_classes):
        raise ConfigError(
            f"config.task.model.num_classes is {network.num_classes}, but the data has {len(info.classes)} classes; leave it "
            "out, and name the classes in config.data.classes where the data is not there."
        )
    if not info.classes:
        info = dataclasses.replace(info, classes=tuple(map(str, range(network.num_classes))))
    preprocessor = Preprocessor(info.height, info.width, info.fit, mean=config.mean, std=config.std)
    check_channels(preprocessor, info.channels)
    return Classification(network, info, preprocessor, config)
