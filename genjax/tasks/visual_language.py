"""Captions and answers about images: the task of a GPT that sees."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from genjax import decoding
from genjax.config import choose, plain, structure
from genjax.data.image_files import read_image
from genjax.data.image_questions import ImageQuestionsInfo, prompt_tokens, square
from genjax.errors import CheckpointError, ConfigError, DataError, RequestError
from genjax.evaluation.perplexity import summarize
from genjax.interop import huggingface
from genjax.models.attention_maps import attention_maps
from genjax.models.clip import CLIPImageConfig
from genjax.models.gpt import GPTConfig
from genjax.models.gpt_sizes import GPT_SIZES
from genjax.models.transformer import unstack_blocks
from genjax.models.vision_language import VisionLanguage, VisionLanguageConfig, flops_per_example
from genjax.models.vit import ViTConfig
from genjax.tasks import attention
from genjax.tasks.base import BaseTask
from genjax.tasks.contract import Artifact, AttentionMap, Aux, Batch, Metrics, Turn, Variables
from genjax.tasks.losses import token_cross_entropy

PARTS = ("vision", "gpt", "adapter")


@dataclass(frozen=True)
class VisualLanguageConfig:
    """The section `config.task`."""

    # Fields of VisionLanguageConfig; `gpt.size` takes the rest of that part from a row of models/gpt_sizes.py, `dtype` is both's.
    model: Mapping[str, Any]
    name: str = "visual_language"
    # The parts that learn: "vision", "gpt", "adapter" (the projection or the gated blocks), or path patterns within them.
    trains: tuple[str, ...] = PARTS
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)  # what is taken from the image's red, green and blue in [0, 1], ...
    std: tuple[float, ...] = (0.5, 0.5, 0.5)  # ... and what they are divided by; CLIP and ViT have their own
    questions: tuple[str, ...] = ()  # what the run's samples answer about `image`; "" asks for a caption
    image: str = ""  # the file of that image

    def __post_init__(self):
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            raise ConfigError(f"task.mean and task.std are three numbers, std above 0, but are {self.mean} and {self.std}.")


@dataclass(frozen=True)
class VisualRequest(decoding.Settings):
    """One image and what is asked about it."""

    image: Any = field(default="", metadata={"help": "a file; from code also uint8 [height width 3] of the model's size"})
    prompt: str = field(default="", metadata={"help": "the question; empty: a caption"})
    temperature: float = field(default=0.0, metadata={"help": "0: the likeliest answer; 1: the model's own distribution"})


@dataclass(frozen=True)
class VisualLanguage(BaseTask):
    """Cross-entropy of answers, given image and question. FLOPs follow `models.vision_language.flops_per_example`, counted as if
    every part were trained."""

    model_config: VisionLanguageConfig
    info: ImageQuestionsInfo
    config: VisualLanguageConfig

    request_type = VisualRequest

    @property
    def notes(self) -> tuple[str, ...]:
        c = self.model_config
        how = f"{c.prefix_length} tokens of the image before the text" if c.prefix_length else f"{c.num_gated} gated blocks"
        return (f"data: {self.info}", f"the GPT sees by {how}; trained: {', '.join(self.config.trains)}")

    @functools.cached_property
    def model(self) -> VisionLanguage:
        return VisionLanguage(self.model_config)

    @property
    def batch_spec(self):
        rows, size = self.info.batch_size, self.info.image_size
        text = jax.ShapeDtypeStruct((rows, self.info.sequence_length), jnp.int32)
        return {"image": jax.ShapeDtypeStruct((rows, size, size, 3), jnp.uint8)} | dict.fromkeys(
            ("tokens", "targets", "loss_mask"), text
        )

    @property
    def turns(self):
        patterns = [f"{name}/params/*" if name in PARTS else name for name in self.config.trains]
        return (Turn("visual_language", tuple(patterns), self.loss),)

    def init(self, key):
        size = self.info.image_size
        made = self.model.init(key, jnp.zeros((1, size, size, 3)), jnp.zeros((1, 2), jnp.int32))["params"]
        return {name: {"params": made[name]} for name in PARTS}

    def loss(self, variables: Variables, batch: Batch, key: jax.Array) -> tuple[jax.Array, Aux]:
        """Mean negative log-likelihood in nats over the tokens of the answers, their end included."""
        drops = self.model_config.gpt.dropout or (self.model_config.clip is None and self.model_config.vision.dropout)
        nats, correct, weight, _ = self._sums(variables, batch, key if drops else None)
        return nats / jnp.maximum(weight, 1.0), Aux(weight, {"accuracy": (correct, weight)})

    def evaluate(self, variables: Variables, batch: Batch, key: jax.Array) -> Metrics:
        """Also `exact_match`: the share of texts of whose answer every token is the likeliest one after those before it. That is
        the share that greedy decoding writes token for token."""
        nats, correct, weight, rows = self._sums(variables, batch, None)
        answered = jnp.any(batch["loss_mask"] > 0, axis=1)
        matches = (jnp.sum(rows & answered, dtype=jnp.float32), jnp.sum(answered, dtype=jnp.float32))
        return {"loss": (nats, weight), "accuracy": (correct, weight), "exact_match": matches}

    def summarize(self, metrics: Mapping[str, float]) -> Mapping[str, float]:
        return summarize(metrics)

    def _sums(self, variables, batch, dropout_key):
        """Sums over the learned tokens of nats, of correct ones and of their number, and by row whether all are correct."""
        logits = self.model.apply(
            _joined(variables),
            self._normalized(batch["image"]),
            batch["tokens"],
            deterministic=dropout_key is None,
            rngs=None if dropout_key is None else {"dropout": dropout_key},
        )
        learned = batch["loss_mask"] > 0
        nats = jnp.sum(jnp.where(learned, token_cross_entropy(logits, batch["targets"]), 0.0))
        correct = jnp.argmax(jax.lax.stop_gradient(logits), axis=-1) == batch["targets"]
        count = jnp.sum(learned, dtype=jnp.float32)
        return nats, jnp.sum(correct & learned, dtype=jnp.float32), count, jnp.all(correct | ~learned, axis=1)

    def _normalized(self, images: UInt8[Array, "batch height width 3"]) -> Float[Array, "batch height width 3"]:
        return (images.astype(jnp.float32) / 255 - jnp.array(self.config.mean)) / jnp.array(self.config.std)

    @property
    def flops_per_step(self) -> float:
        return self.info.batch_size * flops_per_example(self.model_config, self.info.sequence_length)

    @property
    def units_per_step(self) -> tuple[str, int]:
        return "texts", self.info.batch_size

    def pretrained(self, folder: str, shardings: Variables | None) -> Variables:
        """The weights of a tower or a GPT in a Hugging Face folder; or of both, where it has folders `vision` and `gpt`."""
        path = Path(folder)
        inner = [name for name in ("vision", "gpt") if (path / name).is_dir()]
        found = {}
        for place in [path / name for name in inner] or [path]:
            kind, config = huggingface.read_config(place)
            part = "gpt" if isinstance(config, GPTConfig) else "vision"
            if not isinstance(config, GPTConfig | type(self.model_config.tower)):
                raise CheckpointError(f"{place} holds a {kind}, which is neither this model's GPT nor its image tower.")
            own = self.model_config.gpt if part == "gpt" else self.model_config.tower
            target = None if shardings is None else shardings[part]["params"]
            found[part] = {"params": huggingface.load(place, target, config=own)}
        return found

    def example_requests(self) -> Sequence[VisualRequest]:
        return [VisualRequest(image=self.config.image, prompt=text) for text in self.config.questions]

    @functools.cached_property
    def _unrolled(self) -> VisionLanguage:
        c = self.model_config
        gpt = dataclasses.replace(c.gpt, scan_layers=False, remat="none", dropout=0.0)
        vision = dataclasses.replace(c.vision, scan_layers=False, remat="none", dropout=0.0)
        clip = None if c.clip is None else dataclasses.replace(c.clip, scan_layers=False, remat="none")
        return VisionLanguage(dataclasses.replace(c, gpt=gpt, vision=vision, clip=clip))

    def sampling_variables(self, variables: Variables) -> Variables:
        """Layers apart: a scan would copy each layer's weights once more for every token."""
        apart = lambda params: unstack_blocks(params) if "blocks" in params else params  # noqa: E731
        return {name: {"params": apart(variables[name]["params"])} for name in PARTS}

    def prepare(self, requests: Sequence[VisualRequest]) -> Sequence[Batch]:
        """The batches of `decoding.make_batches`, each with `images` (uint8) in the order of its prompts."""
        images = [self._read(request, f"request {i + 1}: " if len(requests) > 1 else "") for i, request in enumerate(requests)]
        batches = decoding.make_batches(
            [self._prompt(request) for request in requests],
            requests,
            context_length=self.model_config.gpt.context_length,
            eos_ids=() if self.info.tokenizer.eos_id is None else (self.info.tokenizer.eos_id,),
        )
        for batch in batches:
            samples = len(batch["owner"]) // len(batch["tokens"])
            owners = np.maximum(batch["owner"][::samples], 0)  # rows that only fill up show any image
            batch["images"] = np.stack([images[owner] for owner in owners])
        return batches

    def sample(self, variables: Variables, batch: Batch, key: jax.Array) -> Batch:
        """The image is read once: as a prefix into the cache, or as keys and values of the gated blocks."""
        apply = functools.partial(self._unrolled.apply, _joined(variables))
        image = apply(self._normalized(batch["images"]), method="encode")

        def step(tokens, cache):
            # Only prompts are longer than one token (an image's alone are more), and only they hold what stands for an image.
            hidden, cache = apply(tokens, image if tokens.shape[1] > 1 else None, cache=cache, method="hidden")
            return apply(hidden[:, -1:], method="logits"), cache

        return decoding.generate(step, lambda rows, slots: apply(image, slots, method="start_cache"), batch, key)

    def present(self, requests: Sequence[VisualRequest], arrays: Sequence[Batch]) -> Sequence[Artifact]:
        found = decoding.collect(arrays, requests, self.info.tokenizer.decode_bytes)
        return [
            Artifact("text", generation.text, self._names(request) | {"sample": number, **generation.metadata})
            for request, generations in zip(requests, found, strict=True)
            for number, generation in enumerate(generations)
        ]

    def attention(self, variables: Variables, request: VisualRequest) -> Sequence[AttentionMap]:
        """What the last token of the question sees of the image, in every layer of the GPT that sees it."""
        picture, tokens, c = self._read(request, ""), self._prompt(request), self.model_config
        arguments = (self._normalized(jnp.asarray(picture[None])), jnp.asarray([tokens[c.prefix_length :]], jnp.int32))
        whole = _joined(self.sampling_variables(variables))
        _, maps = jax.jit(lambda v, *a: attention_maps(self._unrolled, v, *a))(whole, *arguments)
        weights = maps["gpt/attention" if c.fusion == "prefix" else "adapter/attention"][:, 0, :, -1:, 1 : c.image_tokens]
        size = picture.shape[0] // c.grid[0] * c.grid[0], picture.shape[1] // c.grid[1] * c.grid[1]
        label = attention.token_labels(self.info.tokenizer, tokens[-1:])
        title = f"what {label[0].strip()!r}, the last word, sees of the image"
        return [AttentionMap(title, np.asarray(weights), label, image=picture[: size[0], : size[1]], grid=c.grid)]

    def _prompt(self, request: VisualRequest) -> list[int]:
        if self.info.tokenizer is None:
            raise RequestError("there is no tokenizer beside these weights.")
        c = self.model_config
        return [c.image_id] * c.prefix_length + prompt_tokens(self.info.tokenizer, self.info.template, request.prompt)

    def _read(self, request: VisualRequest, where: str) -> UInt8[np.ndarray, "size size 3"]:
        size = self.info.image_size
        if isinstance(request.image, np.ndarray):
            if request.image.shape != (size, size, 3) or request.image.dtype != np.uint8:
                given = f"{request.image.dtype} {list(request.image.shape)}"
                raise RequestError(f"{where}the image must be uint8 [{size} {size} 3], but is {given}.")
            return request.image
        if not request.image:
            raise RequestError(f"{where}there is no image to look at; give one with --image FILE.")
        try:
            return read_image(request.image, square(size))
        except DataError as error:
            raise RequestError(f"{where}{error}") from error

    def _names(self, request: VisualRequest) -> dict[str, str]:
        return {"prompt": request.prompt} | ({"image": str(request.image)} if isinstance(request.image, str | Path) else {})


def _joined(variables: Variables) -> dict[str, Any]:
    """The components as the variables of one module."""
    return {"params": {name: variables[name]["params"] for name in PARTS}}


def build(section: Mapping[str, Any], info: ImageQuestionsInfo) -> VisualLanguage:
    """The task from `config.task` and what the data knows of itself.

    Raises:
        ConfigError: unknown size or field, parts that are not known, or sizes that do not go together.
    """
    config = structure(VisualLanguageConfig, section, "config.task")
    if not isinstance(info, ImageQuestionsInfo):
        raise ConfigError("visual_language needs images with texts; set config.data.name='image_questions'.")
    for name in config.trains:
        choose("config.task.trains: part", name.split("/")[0], dict.fromkeys(PARTS))
    model = _model_config(dict(config.model), info)
    needed = model.prefix_length + info.sequence_length
    if needed > model.gpt.context_length:
        raise ConfigError(
            f"the image's {model.prefix_length} tokens and data.sequence_length {info.sequence_length} are {needed} tokens, but "
            f"model.gpt.context_length is {model.gpt.context_length}; raise it."
        )
    return VisualLanguage(model, info, config)


def _model_config(values: dict[str, Any], info: ImageQuestionsInfo) -> VisionLanguageConfig:
    shared = {"dtype": values.pop("dtype")} if "dtype" in values else {}
    gpt, where = dict(values.pop("gpt", {})), "config.task.model"
    size = gpt.pop("size", "")
    base = plain(choose(f"{where}.gpt.size:", size, GPT_SIZES)) if size else {}
    if not gpt.get("vocab_size"):
        gpt["vocab_size"] = max(info.vocab_size, base.get("vocab_size", 0))
    gpt_config = structure(GPTConfig, base | shared | gpt, f"{where}.gpt")
    if info.vocab_size > gpt_config.vocab_size:
        raise ConfigError(
            f"{where}.gpt.vocab_size {gpt_config.vocab_size} is smaller than the tokenizer's {info.vocab_size}; raise or drop it."
        )
    seen = {"image_size": info.image_size} | shared
    vision = structure(ViTConfig, seen | {"num_classes": 0} | dict(values.pop("vision", {})), f"{where}.vision")
    clip = values.pop("clip", None)
    if clip is not None:
        clip = structure(CLIPImageConfig, seen | {"projection_dim": 0} | dict(clip), f"{where}.clip")
    return structure(VisionLanguageConfig, {"gpt": gpt_config, "vision": vision, "clip": clip, **values}, where)
