"""Images and texts on one sphere: CLIP (Radford et al., 2021) and SigLIP (Zhai et al., 2023) behind the contract.

Where the data give a row two images of the same thing, these meet each other too: the loss is then a mean of image to text, for
either image, and of image to image.
"""

import dataclasses
import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from genjax.config import choose, plain, structure
from genjax.data.image_texts import ImageTextsInfo
from genjax.errors import CheckpointError, ConfigError
from genjax.evaluation.retrieval import batch_recalls
from genjax.interop import huggingface, open_clip
from genjax.interop.preprocessor import CLIP_MEAN, CLIP_STD, FILE, HALF, Preprocessor, read_preprocessor, to_json
from genjax.models import clip, siglip
from genjax.models.clip_resnet import flops_per_image as resnet_flops
from genjax.models.clip_sizes import CLIP_SIZES
from genjax.models.siglip_sizes import SIGLIP_SIZES
from genjax.models.tower import tower_flops
from genjax.tasks.contract import Aux, Batch, Metrics, Turn, Variables
from genjax.tasks.contrastive_losses import sigmoid_contrastive_loss, softmax_contrastive_loss
from genjax.tasks.embedding_requests import EmbeddingSampling
from genjax.tasks.image_batches import check_channels, normalize

Network = clip.CLIPConfig | siglip.SigLIPConfig


@dataclass(frozen=True)
class ContrastiveConfig:
    """The section `config.task`."""

    # Fields of CLIPConfig or SigLIPConfig; `size` takes the rest from a row of models/clip_sizes.py or siglip_sizes.py.
    model: Mapping[str, Any]
    name: str = "contrastive"
    family: Literal["clip", "siglip"] = "clip"
    loss: Literal["", "softmax", "sigmoid"] = ""  # "": the family's own
    image_weight: float = 0.5  # where a row has two images: the share of the loss that is image to image
    mean: tuple[float, ...] = ()  # pixels become (x / 255 - mean) / std; (): as published models of the family have them
    std: tuple[float, ...] = ()

    def __post_init__(self):
        if not 0 <= self.image_weight <= 1:
            raise ConfigError(f"config.task.image_weight is {self.image_weight}; it must be between 0 and 1.")
        if self.loss == "sigmoid" and self.family == "clip":
            raise ConfigError("config.task.loss 'sigmoid' learns a bias, which CLIP has not; use config.task.family 'siglip'.")


@dataclass(frozen=True)
class Contrastive(EmbeddingSampling):
    """Both towers under a contrastive loss over the global batch.

    FLOPs are those of the towers (`models.tower.tower_flops` and the patches); the product of all images with all texts, which
    grows with the square of the batch, is counted too. What remat computes again is not.
    """

    config: ContrastiveConfig

    @functools.cached_property
    def model(self) -> clip.CLIP | siglip.SigLIP:
        return siglip.SigLIP(self.model_config) if self._is_siglip else clip.CLIP(self.model_config)

    @property
    def _is_siglip(self) -> bool:
        return isinstance(self.model_config, siglip.SigLIPConfig)

    @property
    def _resnet(self):
        return getattr(self.model_config, "resnet", None)

    @property
    def has_patches(self) -> bool:
        """Whether images are seen by a transformer over patches behind a class token."""
        return not self._is_siglip and self._resnet is None

    @property
    def batch_spec(self):
        i = self.info
        image = jax.ShapeDtypeStruct((i.batch_size, i.height, i.width, i.channels), jnp.uint8)
        second = {"second_image": image} if i.pairs else {}
        tokens = jax.ShapeDtypeStruct((i.batch_size, i.context_length), jnp.int32)
        return {"image": image, **second, "tokens": tokens, "mask": jax.ShapeDtypeStruct((i.batch_size,), jnp.int32)}

    @property
    def turns(self):
        return (Turn("contrastive", ("towers/params/*",), self.loss),)

    def init(self, key):
        i = self.info
        images, tokens = jnp.zeros((1, i.height, i.width, i.channels)), jnp.zeros((1, min(8, i.context_length)), jnp.int32)
        return {"towers": self.model.init(key, images, tokens)}

    def loss(self, variables: Variables, batch: Batch, key: jax.Array) -> tuple[jax.Array, Aux]:
        """In nats; see `contrastive_losses`. Every row of a training batch counts."""
        images, texts, statistics = self._embeddings(variables, batch, train=True)
        contrast = functools.partial(self._contrast, variables)
        to_texts = sum(contrast(view, texts) for view in images) / len(images)
        loss, metrics = to_texts, {}
        weight = jnp.asarray(texts.shape[0], jnp.float32)
        if len(images) == 2:
            between = contrast(*images)
            share = self.config.image_weight
            loss = (1 - share) * to_texts + share * between
            metrics = {"image_to_text": (to_texts * weight, weight), "image_to_image": (between * weight, weight)}
        scale = self.scale_and_bias(variables)[0]
        return loss, Aux(weight, {"scale": (scale * weight, weight), **metrics}, statistics)

    def evaluate(self, variables: Variables, batch: Batch, key: jax.Array) -> Metrics:
        """How often an image finds its text among those of the batch, and the other way: over a whole held-out set it is
        `python -m genjax.sampling.retrieval` that says so."""
        images, texts, _ = self._embeddings(variables, batch, train=False)
        mask = batch["mask"] > 0
        sums = batch_recalls(images[0], texts, mask, "image_to_text")
        if len(images) == 2:
            sums |= batch_recalls(images[0], images[1], mask, "image_to_image")
        return sums

    def _embeddings(self, variables: Variables, batch: Batch, train: bool):
        """([embeddings of the images, once or twice], embeddings of the texts, new statistics)."""
        views = [normalize(batch[name], self.preprocessor) for name in ("image", "second_image") if name in batch]
        texts = self.encode_texts(variables, batch["tokens"])
        if self._resnet is None or not train:
            return [self.encode_images(variables, view) for view in views], texts, {}
        # One pass, so that the statistics are those of all images of the batch.
        found, changed = self.model.apply(
            variables["towers"], jnp.concatenate(views), True, method="encode_images", mutable=["batch_stats"]
        )
        return jnp.split(found, len(views)), texts, {"towers": changed}

    def encode_images(
        self, variables: Variables, images: Float[Array, "images height width channels"]
    ) -> Float[Array, "images embedding"]:
        """Embeddings of length 1 of normalized images."""
        return self.model.apply(variables["towers"], images, method="encode_images")

    def encode_texts(self, variables: Variables, tokens: Array) -> Float[Array, "texts embedding"]:
        """Embeddings of length 1 of rows of `data.text_rows`."""
        return self.model.apply(variables["towers"], tokens, method="encode_texts")

    def scale_and_bias(self, variables: Variables) -> tuple[Array, Array]:
        """What makes logits of cosines."""
        params = self._params(variables)
        if self._is_siglip:
            return jnp.exp(params["log_scale"]), params["logit_bias"]
        return jnp.minimum(jnp.exp(params["log_scale"]), clip.MAX_SCALE), jnp.zeros(())

    @property
    def _sigmoid(self) -> bool:
        return (self.config.loss or ("sigmoid" if self._is_siglip else "softmax")) == "sigmoid"

    def _contrast(self, variables: Variables, first: Array, second: Array) -> Array:
        params = self._params(variables)
        if not self._sigmoid:
            limit = math.inf if self._is_siglip else clip.MAX_SCALE
            return softmax_contrastive_loss(first, second, params["log_scale"], max_scale=limit)
        return sigmoid_contrastive_loss(first, second, params["log_scale"], params["logit_bias"])

    def _params(self, variables: Variables) -> Mapping[str, Any]:
        return variables["towers"]["params"]

    @property
    def image_flops(self) -> float:
        """Of training on one image, the text apart."""
        c, i = self.model_config, self.info
        if self._resnet is not None:
            return resnet_flops(c.resnet)
        patches = (i.height // c.image.patch_size) * (i.width // c.image.patch_size)
        kernel = c.image.patch_size**2 * i.channels * c.image.embed_dim
        return tower_flops(c.image, patches + (not self._is_siglip)) + 6.0 * patches * kernel

    @property
    def flops_per_step(self) -> float:
        c, i = self.model_config, self.info
        text, image = tower_flops(c.text, i.context_length), self.image_flops
        views = 1 + i.pairs
        contrasts = 6.0 * i.batch_size * c.text.projection_dim * (views + i.pairs)
        return i.batch_size * (views * image + text + contrasts)

    @property
    def units_per_step(self) -> tuple[str, int]:
        return "pairs", self.info.batch_size

    @property
    def notes(self) -> tuple[str, ...]:
        return (f"data: {self.info}",)

    def pretrained(self, folder: str, shardings: Variables | None) -> Variables:
        """The weights of both towers from a Hugging Face folder, or from one in open_clip's layout."""
        if open_clip.is_open_clip(folder):
            config = self._reading_as(open_clip.read_config(folder)[0])
            place = None if shardings is None else shardings["towers"]
            return {"towers": open_clip.load(folder, place, "float32", config=config)}
        place = None if shardings is None else shardings["towers"]["params"]
        config = self._reading_as(huggingface.read_config(folder)[1])
        return {"towers": {"params": huggingface.load(folder, place, config=config)}}

    def _reading_as(self, found: Network) -> Network:
        """Our network, with the rule of a folder for where a text ends: ours follows the tokenizer, and no parameter does."""
        if self._is_siglip or not isinstance(found, clip.CLIPConfig):
            return self.model_config
        text = dataclasses.replace(self.model_config.text, eos_id=found.text.eos_id)
        return dataclasses.replace(self.model_config, text=text)

    def export(self, folder: str | Path, variables: Variables, **settings: Any) -> None:
        """Writes a Hugging Face folder that transformers reads, with the tokenizer and how images are prepared; a CLIP with a
        ResNet, which transformers does not have, in open_clip's layout."""
        towers, tokenizer = variables["towers"], self.info.tokenizer
        if self._resnet is not None:
            open_clip.save(folder, towers, self.model_config, self.preprocessor, tokenizer, **settings)
            return
        processor = "CLIPImageProcessor" if self.preprocessor.fit == "crop" else "SiglipImageProcessor"
        files = {FILE: to_json(self.preprocessor, processor)}
        huggingface.save(folder, towers["params"], self.model_config, tokenizer, files=files, **settings)


def from_weights(folder: Path, tokenizer: Any, dtype: str = "float32") -> Contrastive:
    """The task for a Hugging Face folder of a CLIP or a SigLIP, or for a CLIP in open_clip's layout."""
    if open_clip.is_open_clip(folder):
        kind, (network, preprocessor) = "clip", open_clip.read_config(folder)
    else:
        kind, network = huggingface.read_config(folder)
        size = network.image.image_size
        fit, mean, std = ("stretch", HALF, HALF) if kind == "siglip" else ("crop", CLIP_MEAN, CLIP_STD)
        preprocessor = read_preprocessor(folder, Preprocessor(size, size, fit, mean=mean, std=std))
    network = _with_dtype(network, dtype)
    channels = (getattr(network, "resnet", None) or network.image).channels
    if channels != 3:
        raise CheckpointError(f"{folder} reads images of {channels} channels; image files have 3.")
    sizes = (preprocessor.height, preprocessor.width, channels, preprocessor.fit)
    texts = (tokenizer, network.text.vocab_size, network.text.context_length)
    info = ImageTextsInfo(*texts, 1, *sizes, canonical=kind == "siglip")
    config = ContrastiveConfig(model={}, family=kind, mean=preprocessor.mean, std=preprocessor.std)
    return Contrastive(network, info, preprocessor, config)


def build(section: Mapping[str, Any], info: ImageTextsInfo) -> Contrastive:
    """The task from `config.task` and what the data knows of itself."""
    if not isinstance(info, ImageTextsInfo):
        raise ConfigError("config.task.name 'contrastive' needs images with texts; set config.data.name to 'image_texts'.")
    config = structure(ContrastiveConfig, section, "config.task")
    network = model_config(config, info)
    seen = getattr(network, "resnet", None) or network.image
    if not info.height:  # described without data: the images are of the size that the model is made for
        info = dataclasses.replace(info, height=seen.image_size, width=seen.image_size)
    if info.context_length > network.text.context_length:
        raise ConfigError(
            f"data.context_length {info.context_length} is longer than the text tower's {network.text.context_length}; shorten "
            "the rows or raise config.task.model.text.context_length."
        )
    if info.vocab_size > network.text.vocab_size:
        raise ConfigError(
            f"config.task.model.text.vocab_size {network.text.vocab_size} is smaller than the tokenizer's {info.vocab_size}; "
            "raise it or leave it out."
        )
    mean, std = (HALF, HALF) if config.family == "siglip" or info.channels != 3 else (CLIP_MEAN, CLIP_STD)
    mean, std = config.mean or mean[: info.channels], config.std or std[: info.channels]
    preprocessor = Preprocessor(info.height, info.width, info.fit, mean=mean, std=std)
    check_channels(preprocessor, info.channels)
    return Contrastive(network, info, preprocessor, config)


def model_config(config: ContrastiveConfig, info: ImageTextsInfo) -> Network:
    """The network's fields: those of the named `size`, with the section's own keys in their place, made for the data.

    A key `dtype`, `remat` or `scan_layers` of `config.task.model` itself is for both towers.

    Raises:
        ConfigError: unknown size or field, or towers that do not go together.
    """
    values = {name: dict(value) if isinstance(value, Mapping) else value for name, value in config.model.items()}
    siglips = config.family == "siglip"
    sizes, kind = (SIGLIP_SIZES, siglip.SigLIPConfig) if siglips else (CLIP_SIZES, clip.CLIPConfig)
    size = values.pop("size", "")
    base = plain(choose("config.task.model.size:", size, sizes)) if size else {"text": {}, "image": {}}
    shared = {name: values.pop(name) for name in ("dtype", "remat", "scan_layers", "attention") if name in values}
    resnet = base.get("resnet") or values.get("resnet")
    given = {"text": {}, "image": {"channels": info.channels}}
    if not size:
        given["text"] = {"context_length": info.context_length} | ({"vocab_size": info.vocab_size} if info.vocab_size else {})
        given["image"] |= {"image_size": info.height} if info.height else {}
    if info.tokenizer is not None and not siglips:
        given["text"]["eos_id"] = info.tokenizer.eos_id
    sections = {}
    for name in ("text", "image"):
        sections[name] = dict(base.get(name) or {}) | given[name] | shared | dict(values.pop(name, None) or {})
    if resnet:
        own = given["image"] | {name: value for name, value in shared.items() if name == "dtype"}
        sections["resnet"] = dict(base.get("resnet") or {}) | own | dict(values.pop("resnet", None) or {})
    base = {name: value for name, value in base.items() if name not in ("text", "image", "resnet")}
    return structure(kind, base | sections | values, "config.task.model")


def _with_dtype(network: Network, dtype: str) -> Network:
    names = [name for name in ("text", "image", "resnet") if getattr(network, name, None) is not None]
    return dataclasses.replace(network, **{name: dataclasses.replace(getattr(network, name), dtype=dtype) for name in names})
