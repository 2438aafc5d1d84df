"""Text to text: an encoder-decoder that writes the target of a source (Sutskever et al., 2014; Vaswani et al., 2017; T5)."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from genjax import decoding
from genjax.config import choose, plain, structure
from genjax.data import describe
from genjax.data.line_pair_rows import pair_columns
from genjax.errors import ConfigError, RequestError
from genjax.evaluation import perplexity
from genjax.evaluation.perplexity import text_sums
from genjax.interop import huggingface
from genjax.layers.attention import choose_implementation
from genjax.models.encoder_decoder import EncoderDecoder, EncoderDecoderConfig, flops_per_pair
from genjax.models.encoder_decoder_sizes import ENCODER_DECODER_SIZES
from genjax.tasks.contract import Aux, Batch, Metrics, Turn, Variables
from genjax.tasks.losses import language_model_sums, logits_chunk
from genjax.tasks.seq2seq_sampling import COMPONENT, Seq2SeqSampling

T5_LENGTH = 512  # tokens that the published T5s were trained on; their relative positions have no end


@dataclass(frozen=True)
class Seq2SeqConfig:
    """The section `config.task`."""

    model: Mapping[str, Any]  # fields of the network's config; `size` takes the rest from a row of its published sizes
    name: str = "seq2seq"
    label_smoothing: float = 0.0  # share of the target's probability that is spread over the vocabulary; Vaswani et al.: 0.1
    z_loss: float = 0.0  # weight of the squared log-normalizer (PaLM, section 5); 0: none
    prompts: tuple[str, ...] = ()  # sources of the run's samples
    num_beams: int = 1  # of the run's samples, which are not drawn but the likeliest
    sample_tokens: int = 64  # their length at most

    def __post_init__(self):
        if not 0 <= self.label_smoothing < 1:
            raise ConfigError(f"config.task.label_smoothing is {self.label_smoothing}; it must be at least 0 and below 1.")


@dataclass(frozen=True)
class Seq2SeqRequest(decoding.Settings):
    """A source to answer, with all knobs of decoding."""

    prompt: str = field(default="", metadata={"help": "the source: what to translate or to answer"})


@dataclass(frozen=True)
class Seq2Seq(Seq2SeqSampling):
    """An encoder-decoder under the cross-entropy of its targets, each token given those before it and the source.

    FLOPs follow `models.encoder_decoder.flops_per_pair` for a row, whatever number of pairs it holds.
    """

    config: Seq2SeqConfig

    request_type = Seq2SeqRequest
    network_type = EncoderDecoder

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know before the run starts."""
        network = self.model_config
        choice = choose_implementation(
            network.attention,
            query_length=self.info.target_length,
            key_length=self.info.target_length,
            head_dim=network.head_width,
            dtype=jnp.dtype(network.dtype),
        )
        return (f"data: {self.info}", f"attention: {choice.implementation} ({choice.reason})")

    @functools.cached_property
    def model(self) -> Any:
        return self.network_type(self.model_config)

    @property
    def batch_spec(self):
        columns = pair_columns(self.info.source_length, self.info.target_length)
        return {name: jax.ShapeDtypeStruct((self.info.batch_size, *shape), dtype) for name, (shape, dtype) in columns.items()}

    @property
    def turns(self):
        return (Turn("seq2seq", (f"{COMPONENT}/params/*",), self.loss),)

    def init(self, key):
        tokens = jnp.zeros((1, 2), jnp.int32)
        return {COMPONENT: self.model.init(key, tokens, tokens)}

    def loss(self, variables: Variables, batch: Batch, key: jax.Array) -> tuple[jax.Array, Aux]:
        """Mean negative log-likelihood in nats over the targets, with label smoothing and the penalty of `z_loss`."""
        deterministic = self.model_config.dropout == 0.0
        penalties = {"z_loss": self.config.z_loss, "label_smoothing": self.config.label_smoothing}
        nats, correct, weight = self._sums(variables, batch, key, deterministic, **penalties)
        return nats / jnp.maximum(weight, 1.0), Aux(weight, {"accuracy": (correct, weight)})

    def evaluate(self, variables: Variables, batch: Batch, key: jax.Array) -> Metrics:
        nats, correct, weight = self._sums(variables, batch, key, deterministic=True)
        text_bytes = None
        if self.info.tokenizer is not None:
            token_bytes = jnp.asarray(self.info.tokenizer.token_bytes)
            own = batch["target_segment_ids"] > 0
            text_bytes = jnp.sum(jnp.where(own, token_bytes[batch["targets"]], 0), dtype=jnp.float32)
        return text_sums(nats, correct, weight, text_bytes)

    def summarize(self, metrics: Mapping[str, float]) -> Mapping[str, float]:
        return perplexity.summarize(metrics)

    def _sums(self, variables, batch, key, deterministic, **penalties):
        params = variables[COMPONENT]

        def hidden(model: Any) -> Array:
            source, mask, positions = self._inputs(batch)
            context, ids = self._encode(model, source, mask, positions, deterministic)
            segment_ids = batch["target_segment_ids"]
            options = {"segment_ids": segment_ids, "context_segment_ids": ids, "deterministic": deterministic}
            if "target_positions" in batch:
                options["positions"] = batch["target_positions"]
            tokens = shift_right(batch["targets"], segment_ids, self.model_config.start_id)
            return model.decode(tokens, context, **options)[0]

        x = self.model.apply(params, rngs=None if deterministic else {"dropout": key}, method=hidden)
        to_logits = lambda h: self.model.apply(params, h, method="logits")  # noqa: E731
        mask = (batch["target_segment_ids"] > 0).astype(jnp.int32)
        chunk = logits_chunk(*batch["targets"].shape, self.model_config.vocab_size)
        nats, correct = language_model_sums(x, batch["targets"], mask, to_logits, chunk, **penalties)
        return nats, correct, jnp.sum(mask.astype(jnp.float32))

    def _inputs(self, batch: Batch) -> tuple[jax.Array, jax.Array, jax.Array | None]:
        """Source, mask and positions of a training batch, see `_encode`."""
        return batch["source"], batch["source_segment_ids"], batch["source_positions"]

    def _encode(self, model, source, mask, positions, deterministic):
        return model.encode(source, segment_ids=mask, positions=positions, deterministic=deterministic), mask

    def _source(self, request: Seq2SeqRequest) -> np.ndarray:
        if not request.prompt.strip():
            raise RequestError("the source is empty; give a text with --prompt.")
        eos = self._tokenizer.eos_id
        return np.array([*self._tokenizer.encode(request.prompt), *([] if eos is None else [eos])], np.int32)

    def _about(self, request: Seq2SeqRequest) -> dict[str, Any]:
        return {"source": request.prompt}

    @property
    def _limits(self) -> tuple[int, int]:
        return self.info.source_length, self.info.target_length

    @property
    def flops_per_step(self) -> float:
        return self.info.batch_size * flops_per_pair(self.model_config, self.info.source_length, self.info.target_length)

    @property
    def units_per_step(self) -> tuple[str, int]:
        return "tokens", self.info.batch_size * (self.info.source_length + self.info.target_length)

    def example_requests(self) -> Sequence[Seq2SeqRequest]:
        beams = self.config.num_beams
        knobs = {"max_new_tokens": min(self.config.sample_tokens, self._limits[1]), "num_beams": beams}
        knobs |= {"temperature": 0.0} if beams == 1 else {}
        return [self.request_type(prompt=text, **knobs) for text in self.config.prompts]

    def pretrained(self, folder: str, shardings: Variables | None) -> Variables:
        """The weights of a Hugging Face folder, each slice read onto the device where it lies."""
        place = None if shardings is None else shardings[COMPONENT]["params"]
        return {COMPONENT: {"params": huggingface.load(folder, place, config=self.model_config)}}

    def export(self, folder: str | Path, variables: Variables, **settings: Any) -> None:
        """Writes a Hugging Face folder that transformers reads, tokenizer included."""
        huggingface.save(folder, variables[COMPONENT]["params"], self.model_config, self.info.tokenizer, **settings)


def shift_right(
    targets: Int[Array, "batch length"], segment_ids: Int[Array, "batch length"], start_id: int
) -> Int[Array, "batch length"]:
    """What the decoder reads to write `targets`: the token before each, and `start_id` before the first of each segment."""
    before, own = (jnp.pad(x[:, :-1], ((0, 0), (1, 0))) for x in (targets, segment_ids))
    return jnp.where(segment_ids == own, before, start_id)


def network_config(kind: type, sizes: Mapping[str, Any], section: Mapping[str, Any], info: Any) -> Any:
    """The network's fields: those of the named `size`, with the section's own keys in their place. A vocabulary and a first token
    that nobody names are the tokenizer's: a target begins with its bos, or with 0 where it has none.

    Raises:
        ConfigError: unknown size or field, or a vocabulary smaller than the tokenizer's.
    """
    values = dict(section)
    size = values.pop("size", "")
    base = plain(choose("config.task.model.size:", size, sizes)) if size else {}
    if info.vocab_size and not values.get("vocab_size"):
        values["vocab_size"] = max(info.vocab_size, base.get("vocab_size", 0))
    if info.vocab_size > (given := values.get("vocab_size", info.vocab_size)):
        raise ConfigError(
            f"config.task.model.vocab_size {given} is smaller than the tokenizer's {info.vocab_size}; raise it or drop it."
        )
    bos = getattr(info.tokenizer, "bos_id", None)
    values.setdefault("start_id", 0 if bos is None else bos)
    return structure(kind, base | values, "config.task.model")


def from_weights(folder: Path, tokenizer: Any, dtype: str = "float32") -> Seq2Seq:
    """The task for a Hugging Face folder of a T5."""
    _, network = huggingface.read_config(folder)
    lengths = {"source_length": T5_LENGTH, "target_length": T5_LENGTH}
    info = dataclasses.replace(describe({"name": "line_pairs"} | lengths, tokenizer), vocab_size=network.vocab_size)
    return Seq2Seq(dataclasses.replace(network, dtype=dtype), info, Seq2SeqConfig(model={}))


def build(section: Mapping[str, Any], info: Any) -> Seq2Seq:
    """The task from `config.task` and what the data knows of itself."""
    config = structure(Seq2SeqConfig, section, "config.task")
    if not hasattr(info, "num_source_tokens"):
        raise ConfigError("config.task.name 'seq2seq' reads pairs of texts; set data.name to 'line_pairs'.")
    return Seq2Seq(network_config(EncoderDecoderConfig, ENCODER_DECODER_SIZES, config.model, info), info, config)
