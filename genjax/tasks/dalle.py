"""DALL-E: texts and the codes of images in one GPT, on a first stage that is frozen (Ramesh et al., 2021).

The first stage is the autoencoder of another run, whose weights become a component of this one when it begins; so does a
contrastive model that judges what is drawn, where there is one.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from genjax import decoding
from genjax.config import structure
from genjax.data.image_codes import CodesInfo
from genjax.data.image_texts import ImageTextsInfo
from genjax.errors import ConfigError, RequestError
from genjax.layers.cache import KVCache, init_cache
from genjax.models.dalle import DALLE, DALLEConfig, keys_seen, padded, parameter_count, sequences
from genjax.tasks.autoencoder import AutoencoderTask
from genjax.tasks.autoencoder_networks import COMPONENT
from genjax.tasks.base import BaseTask
from genjax.tasks.contract import Artifact, Aux, Batch, Metrics, Task, Turn, Variables, mean_of
from genjax.tasks.contrastive import Contrastive
from genjax.tasks.dalle_requests import DALLERequest, SamplingConfig, prepare, present
from genjax.tasks.image_batches import normalize
from genjax.tasks.losses import token_cross_entropy
from genjax.tasks.media import Images

ADOPTS = ("first_stage", "ranker")
GPT = "dalle"  # the component that is trained
_NEVER = -1e30  # the logit of ids that cannot come next


@dataclass(frozen=True)
class DALLETaskConfig:
    """The section `config.task`."""

    model: Mapping[str, Any]  # fields of DALLEConfig; what the data and the first stage say need not be set
    name: str = "dalle"
    first_stage: str = ""  # a run of task autoencoder; where data.codes are at hand it is needed only to draw
    first_stage_digest: str = ""  # of its weights, if it is to be checked; that of data.codes always is
    ranker: str = ""  # a run of task contrastive, by which candidates are chosen
    ranker_digest: str = ""
    text_weight: float = 0.125  # of the text's loss; the image's has the rest (Ramesh et al., 2021, section 2.2)
    text_dropout: float = 0.1  # the share of rows that are told no text, for guidance
    sampling: SamplingConfig = field(default_factory=SamplingConfig)  # what a request that says nothing gets
    prompts: tuple[str, ...] = ()  # of `train.sample_every`
    samples: int = 4  # of each

    def __post_init__(self):
        for name in ("text_weight", "text_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"config.task.{name} is {getattr(self, name)}; it must be at least 0 and below 1.")


@dataclass(frozen=True)
class DALLETask(BaseTask):
    """A DALL-E behind the contract. FLOPs: six for every parameter of a kernel that a token meets, 12 * head width for every head
    and key that its pattern sees; and the first stage's encoder, which is not trained."""

    model_config: DALLEConfig
    first_stage: AutoencoderTask | None
    ranker: Contrastive | None
    config: DALLETaskConfig
    info: ImageTextsInfo

    request_type = DALLERequest
    makes = "image"

    @functools.cached_property
    def model(self) -> DALLE:
        return DALLE(self.model_config)

    @property
    def medium(self) -> Images:
        """What is drawn. Raises RequestError: without a first stage, nothing is."""
        if self.first_stage is None:
            raise RequestError("this run has codes and no first stage to draw them; set config.task.first_stage to its run.")
        return self.first_stage.medium

    @property
    def batch_spec(self):
        rows, number, c = self.info.batch_size, jnp.int32, self.model_config
        if self.info.codes:
            seen = {"codes": jax.ShapeDtypeStruct((rows, c.rows, c.columns), number)}
        else:
            seen = {"image": jax.ShapeDtypeStruct((rows, *self.medium.shape), jnp.uint8)}
        return seen | {
            "tokens": jax.ShapeDtypeStruct((rows, self.info.context_length), number),
            "mask": jax.ShapeDtypeStruct((rows,), number),
        }

    @property
    def turns(self):
        return (Turn(GPT, (f"{GPT}/params/*",), self.loss),)

    def init(self, key):
        keys = jax.random.split(key, 3)
        variables = {GPT: self.model.init(keys[0], jnp.zeros((1, 8), jnp.int32))}
        if self.first_stage:
            variables["first_stage"] = self.first_stage.init(keys[1])[COMPONENT]
        if self.ranker:
            variables["ranker"] = self.ranker.init(keys[2])["towers"]
        return variables

    def adopt(self, runs):
        places = {"first_stage": COMPONENT, "ranker": "towers"}
        return {name: variables[places[name]] for name, variables in runs.items()}

    # Training.

    def loss(self, variables: Variables, batch: Batch, key: jax.Array) -> tuple[jax.Array, Aux]:
        """The weighed mean of the nats of text tokens, padding with them, and of those of codes."""
        deterministic = self.model_config.dropout == 0.0
        text, image, _ = self._nats(variables, batch, None if deterministic else key, jax.random.fold_in(key, 1))
        weight = self.config.text_weight
        count = len(batch["mask"])
        metrics = {"text": mean_of(text.mean(), count), "image": mean_of(image.mean(), count)}
        return weight * text.mean() + (1 - weight) * image.mean(), Aux(count, metrics)

    def evaluate(self, variables: Variables, batch: Batch, key: jax.Array) -> Metrics:
        """Nats of a token of text and of a code, and the share of codes that are the likeliest."""
        text, image, correct = self._nats(variables, batch, None, None)
        weights = batch["mask"].astype(jnp.float32)
        found = {"text": text, "image": image, "accuracy": correct}
        return {name: ((values.mean(1) * weights).sum(), weights.sum()) for name, values in found.items()}

    def _nats(self, variables, batch, dropout_key, text_key):
        """Of each token of texts (0 where a row is told none), of each code, and which codes are the likeliest."""
        c = self.model_config
        if self.info.codes:
            codes = batch["codes"].reshape(len(batch["codes"]), -1)
        else:
            codes = jax.lax.stop_gradient(self.codes_of(variables, self.medium.to_model(batch["image"])))
        texts = self.texts_of(batch["tokens"])
        told = jnp.ones((len(texts), 1), bool)
        if text_key is not None:
            told = ~jax.random.bernoulli(text_key, self.config.text_dropout, told.shape)
            texts = jnp.where(told, texts, padded(c, texts, jnp.zeros_like(texts, bool)))
        rngs = None if dropout_key is None else {"dropout": dropout_key}
        read = sequences(c, texts, codes)
        hidden, _ = self.model.apply(variables[GPT], read, deterministic=rngs is None, rngs=rngs, method="hidden")
        parts = []
        for places, ids, targets in (
            (slice(0, c.text_length), slice(0, c.bos), texts),
            (slice(c.text_length, None), slice(c.first_code, None), codes),
        ):
            logits = self.model.apply(variables[GPT], hidden[:, places], method="logits")[..., ids]
            parts.append((token_cross_entropy(logits, targets), jnp.argmax(logits, -1) == targets))
        (text, _), (image, correct) = parts
        return text * told, image, correct

    def codes_of(self, variables: Variables, images: Float[Array, "batch height width channels"]) -> Int[Array, "batch places"]:
        """The first stage's codes of images in [-1, 1], row by row."""
        found = self.first_stage.model.apply(variables["first_stage"], images, method="encode").codes
        return found.reshape(len(images), -1)

    def texts_of(self, tokens: Int[Array, "batch length"]) -> Int[Array, "batch length"]:
        """Rows of the data's tokens: behind the end of each text, the padding of its place."""
        return padded(self.model_config, tokens, self._within(tokens))

    def _within(self, tokens: Int[Array, "batch length"]) -> Bool[Array, "batch length"]:
        """Up to the first end token, that with it; a first token is not looked at, as a text may begin with what ends it."""
        ends = (jnp.asarray(tokens) == self.info.tokenizer.eos_id).at[:, 0].set(False)
        return jnp.cumsum(ends, axis=1) - ends == 0

    # Sampling.

    def sampling_variables(self, variables: Variables) -> Variables:
        return variables

    def prepare(self, requests: Sequence[DALLERequest]) -> Sequence[Batch]:
        return prepare(requests, self)

    def sample(self, variables: Variables, batch: Batch, key: jax.Array) -> Batch:
        c = self.model_config
        prompts, rows = len(batch["tokens"]), len(batch["owner"])
        forced = None
        if "image" in batch:
            codes = self.codes_of(variables, self.medium.to_model(batch["image"]))
            forced = jnp.where(batch["known"], jnp.repeat(codes, rows // prompts, axis=0), -1)
        guidance = batch.get("guidance")
        new_cache = functools.partial(self._new_cache, 1 if guidance is None else 2)
        found = decoding.generate(self._step(variables, guidance, forced), new_cache, batch, key)
        codes = (found["output"] - c.first_code)[:, : c.rows * c.columns]
        outputs = self.first_stage.model.apply(
            variables["first_stage"], codes.reshape(-1, c.rows, c.columns), method="decode_codes"
        )
        images = self.first_stage.to_image(outputs)
        if "image" in batch:
            whole = jnp.repeat(batch["image"], rows // prompts, axis=0)
            images = jnp.where(
                jnp.arange(images.shape[1])[None, :, None, None] < batch["pasted"][:, None, None, None], whole, images
            )
        result = {"owner": batch["owner"], "sample": batch["sample"], "value": images, "codes": codes}
        if self.ranker:
            result["score"] = self._scores(variables, images, jnp.repeat(batch["rank_tokens"], rows // prompts, axis=0))
        return result

    def _scores(self, variables: Variables, images: Array, tokens: Array) -> Float[Array, "rows"]:
        """A hundred times the cosine between each image and its text."""
        p = self.ranker.preprocessor
        size = (len(images), p.height, p.width, self.ranker.info.channels)
        seen = jax.image.resize(jnp.broadcast_to(images.astype(jnp.float32), (*images.shape[:3], size[-1])), size, "linear")
        towers = {"towers": variables["ranker"]}
        embedded = self.ranker.encode_images(towers, normalize(seen, p)), self.ranker.encode_texts(towers, tokens)
        return 100 * (embedded[0] * embedded[1]).sum(-1)

    def _new_cache(self, times: int, prompts: int, slots: int) -> KVCache:
        c = self.model_config.gpt()
        return init_cache(
            c.num_layers, times * prompts, slots, c.kv_heads, c.head_width, jnp.dtype(c.dtype), stacked=c.scan_layers
        )

    def _step(self, variables: Variables, guidance: Float[Array, "rows"] | None, forced: Int[Array, "rows places"] | None):
        """A step of decoding: logits of codes alone, guided where there is a scale for each row, and certain where a code is
        given. With guidance a cache has the rows that are told their text, and then the same rows without."""
        c = self.model_config

        def step(tokens, cache):
            rows, first = tokens.shape[0], tokens.shape[1] > 1
            if guidance is not None:
                other = tokens
                if first:
                    nothing = padded(c, tokens[:, 1 : c.text_length + 1], jnp.zeros((rows, c.text_length), bool))
                    other = jnp.concatenate([tokens[:, :1], nothing], axis=1)
                    cache = cache.replace(start=jnp.tile(cache.start, 2))
                tokens = jnp.concatenate([tokens, other])
            hidden, cache = self.model.apply(variables[GPT], tokens, cache=cache, method="hidden")
            logits = self.model.apply(variables[GPT], hidden[:, -1:], method="logits")[:, 0, c.first_code :]
            every = lambda values: values[:: len(values) // rows]  # noqa: E731  (at first a row for each prompt)
            if guidance is not None:
                told, untold = jnp.split(logits, 2)
                logits = untold + every(guidance)[:, None] * (told - untold)
            if forced is not None:
                place = cache.index - 1 - c.text_length
                given = jax.lax.dynamic_index_in_dim(every(forced), place, axis=1, keepdims=False)[:, None]
                logits = jnp.where((given < 0) | (jnp.arange(c.codes) == given), logits, _NEVER)
            before = jnp.full((rows, c.first_code), _NEVER, logits.dtype)
            return jnp.concatenate([before, logits], axis=1), cache

        return step

    def present(self, requests: Sequence[DALLERequest], arrays: Sequence[Batch]) -> Sequence[Artifact]:
        return present(requests, arrays, self)

    def example_requests(self) -> Sequence[DALLERequest]:
        return [DALLERequest(prompt=prompt, num_samples=self.config.samples) for prompt in self.config.prompts]

    # Figures.

    @property
    def flops_per_step(self) -> float:
        c = self.model_config
        kernels = parameter_count(c) - (c.text_length + 1 + c.rows + c.columns) * c.embed_dim
        attention = 12.0 * c.embed_dim * sum(keys_seen(c))
        encoder = 0.0 if self.info.codes else self.first_stage.flops_per_image / 2
        return self.info.batch_size * (c.length * (6.0 * kernels + attention) + encoder)

    @property
    def units_per_step(self) -> tuple[str, int]:
        return "images", self.info.batch_size

    @property
    def notes(self) -> tuple[str, ...]:
        c = self.model_config
        patterns = ", ".join(dict.fromkeys(c.layer_patterns()))
        ranked = f"; candidates are ranked by {self.config.ranker}" if self.ranker else ""
        return (
            f"data: {self.info}",
            f"{c.text_length} tokens of text and {c.rows}x{c.columns} codes of {c.codes:,}; attention: {patterns}{ranked}",
        )


def build(section: Mapping[str, Any], info: Any, adopted: Mapping[str, Task]) -> DALLETask:
    """The task from `config.task`, what the data knows of itself, and the runs that it takes networks from."""
    config = structure(DALLETaskConfig, section, "config.task")
    if not isinstance(info, ImageTextsInfo):
        raise ConfigError(
            "config.task.name 'dalle' needs images with texts; set config.data.name to 'image_texts' or 'captioned_shapes'."
        )
    stage = adopted.get("first_stage")
    if stage is not None or not info.codes:
        _check_stage(config, stage, info)
    ranker = adopted.get("ranker")
    if ranker is not None and not isinstance(ranker, Contrastive):
        raise ConfigError(f"config.task.ranker {config.ranker} is no run of task 'contrastive'; name one.")
    codes, whose = info.codes, "data.codes has"
    if stage is not None:
        (grid,) = stage.code_grids
        codes, whose = CodesInfo(grid.bottleneck.codes, grid.rows, grid.columns), f"the first stage {config.first_stage} makes"
    told = {name: getattr(codes, name) for name in ("codes", "rows", "columns")}
    for name, number in told.items():
        if config.model.get(name, number) != number:
            raise ConfigError(
                f"config.task.model.{name} is {config.model[name]}, but {whose} {codes.rows}x{codes.columns} codes of "
                f"{codes.codes:,}; set it to {number}, or leave it out."
            )
    texts = {"text_vocab": info.vocab_size or 0, "text_length": info.context_length}
    network = structure(DALLEConfig, dict(config.model) | told | texts, "config.task.model")
    return DALLETask(network, stage, ranker, config, info)


def _check_stage(config: DALLETaskConfig, stage: Task | None, info: ImageTextsInfo) -> None:
    """Raises ConfigError: no first stage, one of other images than the data's, or another than made its codes."""
    if not isinstance(stage, AutoencoderTask) or len(stage.code_grids) != 1 or stage.code_grids[0].bottleneck.depth != 1:
        given = f" {config.first_stage}" if stage else ""
        raise ConfigError(f"config.task.first_stage{given} must name a run of task 'autoencoder' with one code for each place.")
    medium = stage.medium
    if info.height and (info.height, info.width, info.channels) != medium.shape:
        raise ConfigError(
            f"the first stage {config.first_stage} reads images of {medium.height}x{medium.width}x{medium.channels}, and the "
            f"data has {info.height}x{info.width}x{info.channels}; set config.data.image_size and channels to the first stage's."
        )
    made = info.codes.digest if info.codes else ""
    if made and config.first_stage_digest and made != config.first_stage_digest:
        raise ConfigError(
            f"data.codes are of a first stage of digest {made}, and config.task.first_stage {config.first_stage} has "
            f"{config.first_stage_digest}; run genjax.sampling.encode with this first stage."
        )
