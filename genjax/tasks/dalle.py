"""DALL-E: texts and the codes of images in one GPT, on a first stage that is frozen (Ramesh et al., 2021).

The first stage is the autoencoder of another run, whose weights become a component of this one when it begins; so does a
contrastive model that judges what is drawn, where there is one.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from genjax import decoding
from genjax.config import structure
from genjax.data.image_codes import CodesInfo
from genjax.data.image_texts import ImageTextsInfo
from genjax.errors import ConfigError, RequestError
from genjax.tasks.autoencoder import AutoencoderTask
from genjax.tasks.autoencoder_networks import COMPONENT
from genjax.tasks.base import BaseTask, StepwiseSampling
from genjax.tasks.contract import Artifact, Aux, Batch, Metrics, Task, Turn, Variables, mean_of
from genjax.tasks.contrastive import Contrastive
from genjax.tasks.dalle_forms import Form, Sizes, make_form
from genjax.tasks.dalle_requests import DALLERequest, SamplingConfig, prepare, present
from genjax.tasks.image_batches import normalize
from genjax.tasks.media import Images

ADOPTS = ("first_stage", "ranker")
GPT = "dalle"  # the component that is trained
_NEVER = -1e30  # the logit of ids that cannot come next
# Codes that are drawn so far, and those that are given (-1: to be drawn).
_Drawn = tuple[decoding.DecodeState, Int[Array, "rows places"] | None]


@dataclass(frozen=True)
class DALLETaskConfig:
    """The section `config.task`."""

    # Fields of DALLEConfig, or of EncoderDecoderConfig; what the data and the first stage say need not be set.
    model: Mapping[str, Any]
    name: str = "dalle"
    form: Literal["one_sequence", "two_stacks"] = "one_sequence"  # as published, or as dalle-mini: an encoder and a decoder
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
class DALLETask(StepwiseSampling, BaseTask):
    """A DALL-E behind the contract. FLOPs are those of its form, and of the first stage's encoder, which is not trained."""

    form: Form
    first_stage: AutoencoderTask | None
    ranker: Contrastive | None
    config: DALLETaskConfig
    info: ImageTextsInfo

    request_type = DALLERequest
    makes = "image"

    @property
    def sizes(self) -> Sizes:
        return self.form.sizes

    @property
    def medium(self) -> Images:
        """What is drawn. Raises RequestError: without a first stage, nothing is."""
        if self.first_stage is None:
            raise RequestError("this run has codes and no first stage to draw them; set config.task.first_stage to its run.")
        return self.first_stage.medium

    @property
    def batch_spec(self):
        rows, number, s = self.info.batch_size, jnp.int32, self.sizes
        if self.info.codes:
            seen = {"codes": jax.ShapeDtypeStruct((rows, s.rows, s.columns), number)}
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
        variables = {GPT: self.form.init(keys[0])}
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
        """The weighed mean of the nats of text tokens, padding with them, and of those of codes; of codes alone, where texts are
        only read."""
        text, image, _ = self._nats(variables, batch, key if self.form.dropout else None, jax.random.fold_in(key, 1))
        weight, count = self.config.text_weight, len(batch["mask"])
        if text is None:
            return image.mean(), Aux(count)
        metrics = {"text": mean_of(text.mean(), count), "image": mean_of(image.mean(), count)}
        return weight * text.mean() + (1 - weight) * image.mean(), Aux(count, metrics)

    def evaluate(self, variables: Variables, batch: Batch, key: jax.Array) -> Metrics:
        """Nats of a token of text and of a code, and the share of codes that are the likeliest."""
        text, image, correct = self._nats(variables, batch, None, None)
        weights = batch["mask"].astype(jnp.float32)
        found = {"image": image, "accuracy": correct} | ({} if text is None else {"text": text})
        return {name: ((values.mean(1) * weights).sum(), weights.sum()) for name, values in found.items()}

    def _nats(self, variables, batch, dropout_key, text_key):
        """See `Form.nats`."""
        if self.info.codes:
            codes = batch["codes"].reshape(len(batch["codes"]), -1)
        else:
            codes = jax.lax.stop_gradient(self.codes_of(variables, self.medium.to_model(batch["image"])))
        told = jnp.ones((len(codes), 1), bool)
        if text_key is not None:
            told = ~jax.random.bernoulli(text_key, self.config.text_dropout, told.shape)
        rngs = None if dropout_key is None else {"dropout": dropout_key}
        return self.form.nats(variables[GPT], batch["tokens"], self.within(batch["tokens"]), told, codes, rngs)

    def codes_of(self, variables: Variables, images: Float[Array, "batch height width channels"]) -> Int[Array, "batch places"]:
        """The first stage's codes of images in [-1, 1], row by row."""
        found = self.first_stage.model.apply(variables["first_stage"], images, method="encode").codes
        return found.reshape(len(images), -1)

    def within(self, tokens: Int[Array, "batch length"]) -> Bool[Array, "batch length"]:
        """Which of the data's tokens are not behind the end of their text. A first token is none: a text may begin with what
        ends it."""
        end = -1 if self.info.tokenizer is None else self.info.tokenizer.eos_id  # compiled without its data
        ends = (jnp.asarray(tokens) == end).at[:, 0].set(False)
        return jnp.cumsum(ends, axis=1) - ends == 0

    # Sampling.

    def prepare(self, requests: Sequence[DALLERequest]) -> Sequence[Batch]:
        return prepare(requests, self)

    def sampling_variables(self, variables: Variables) -> Variables:
        return {**variables, GPT: self.form.decoding_variables(variables[GPT])}

    def sampling_steps(self, batch: Batch) -> int:
        return self.sizes.places - 1  # `begin` chooses the first code

    def begin(self, variables: Variables, batch: Batch, key: jax.Array) -> _Drawn:
        forced = None
        if "image" in batch:
            codes = self.codes_of(variables, self.medium.to_model(batch["image"]))
            forced = jnp.where(batch["known"], jnp.repeat(codes, len(batch["owner"]) // len(codes), axis=0), -1)
        new_cache = functools.partial(self.form.for_decoding().new_cache, variables[GPT], batch, "guidance" in batch)
        return decoding.begin(self._step(variables[GPT], batch.get("guidance"), forced), new_cache, batch, key), forced

    def advance(self, variables: Variables, batch: Batch, state: _Drawn, steps: int | jax.Array) -> _Drawn:
        decoded, forced = state
        step = self._step(variables[GPT], batch.get("guidance"), forced)
        return decoding.advance(step, decoded, batch["controls"], steps), forced

    def finish(self, variables: Variables, batch: Batch, state: _Drawn) -> Batch:
        s = self.sizes
        prompts, rows = len(batch["tokens"]), len(batch["owner"])
        codes = (state[0].output - self.form.first_code)[:, : s.places]
        outputs = self.first_stage.model.apply(
            variables["first_stage"], codes.reshape(-1, s.rows, s.columns), method="decode_codes"
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

    def _step(self, variables: Variables, guidance: Float[Array, "rows"] | None, forced: Int[Array, "rows places"] | None):
        """A step of decoding: logits of codes alone, guided where each row has a scale, certain where a code is given."""
        form = self.form.for_decoding()

        def step(tokens, cache):
            rows = len(tokens)
            every = lambda values: values[:: len(values) // rows]  # noqa: E731  (at first a row for each prompt)
            logits, cache = form.advance(variables, tokens, cache, guidance is not None)
            if guidance is not None:
                told, untold = jnp.split(logits, 2)
                logits = untold + every(guidance)[:, None] * (told - untold)
            if forced is not None:
                given = jax.lax.dynamic_index_in_dim(every(forced), form.place(cache), axis=1, keepdims=False)[:, None]
                logits = jnp.where((given < 0) | (jnp.arange(logits.shape[1]) == given), logits, _NEVER)
            before = jnp.full((rows, form.first_code), _NEVER, logits.dtype)
            return jnp.concatenate([before, logits], axis=1), cache

        return step

    def present(self, requests: Sequence[DALLERequest], arrays: Sequence[Batch]) -> Sequence[Artifact]:
        return present(requests, arrays, self)

    def example_requests(self) -> Sequence[DALLERequest]:
        return [DALLERequest(prompt=prompt, num_samples=self.config.samples) for prompt in self.config.prompts]

    # Figures.

    @property
    def flops_per_step(self) -> float:
        encoder = 0.0 if self.info.codes else self.first_stage.flops_per_image / 2
        return self.info.batch_size * (self.form.flops() + encoder)

    @property
    def units_per_step(self) -> tuple[str, int]:
        return "images", self.info.batch_size

    @property
    def notes(self) -> tuple[str, ...]:
        ranked = f"; candidates are ranked by {self.config.ranker}" if self.ranker else ""
        return (f"data: {self.info}", self.form.describe() + ranked)


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
    sizes = Sizes(info.vocab_size or 0, info.context_length, **told)
    return DALLETask(make_form(config.form, config.model, sizes), stage, ranker, config, info)


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
