"""Masked language modelling: the task of BERT and of encoders like it."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from genjax.config import choose, plain, structure
from genjax.data import DataInfo, describe
from genjax.errors import CheckpointError, ConfigError
from genjax.evaluation import perplexity
from genjax.evaluation.perplexity import text_sums
from genjax.interop import huggingface
from genjax.models.bert import Bert, BertConfig, flops_per_token
from genjax.models.distilbert import DISTILBERT_SIZES, DistilBert, DistilBertConfig
from genjax.models.encoder_sizes import BERT_SIZES
from genjax.tasks import masking
from genjax.tasks.contract import Aux, Batch, Metrics, Turn, Variables
from genjax.tasks.losses import token_cross_entropy
from genjax.tasks.masked_requests import MaskedRequest, MaskedSampling


@dataclass(frozen=True)
class Network:
    """A kind of encoder: its module has `hidden` and `token_logits` as `Bert` has them.

    Attributes:
        config_type, module: the dataclass of its hyper-parameters and the Flax module.
        sizes: published sizes by name.
        fields: what a named size is given for this task.
    """

    config_type: type
    module: Callable[[Any], nn.Module]
    sizes: Mapping[str, Any]
    fields: Mapping[str, Any] = dataclasses.field(default_factory=dict)


NETWORKS: Mapping[str, Network] = MappingProxyType(
    {
        "bert": Network(BertConfig, Bert, BERT_SIZES, {"masked_lm": True, "pooler": False}),
        "distilbert": Network(DistilBertConfig, DistilBert, DISTILBERT_SIZES),
    }
)


@dataclass(frozen=True)
class MaskedLMConfig:
    """The section `config.task`."""

    model: Mapping[str, Any]  # fields of the network's config; `size` takes the rest from its published sizes
    name: str = "masked_lm"
    network: str = "bert"  # a row of NETWORKS
    mask_rate: float = 0.15  # the share of the tokens that is to be found
    whole_words: bool = False  # all pieces of a word are hidden together
    prompts: tuple[str, ...] = ()  # texts with [MASK] that the run's samples fill

    def __post_init__(self):
        if not 0 < self.mask_rate < 1:
            raise ConfigError(f"task.mask_rate is {self.mask_rate}; it must be above 0 and below 1.")


@dataclass(frozen=True)
class MaskedLM(MaskedSampling):
    """Cross-entropy of the hidden tokens. FLOPs follow `models.bert.flops_per_token`; the head sees the hidden tokens alone."""

    config: MaskedLMConfig

    @property
    def notes(self) -> tuple[str, ...]:
        return (f"data: {self.info}",)

    @functools.cached_property
    def model(self) -> nn.Module:
        return network_of(self.model_config).module(self.model_config)

    @functools.cached_property
    def vocabulary(self) -> masking.Vocabulary:
        if self.info.tokenizer is None:
            return masking.any_vocabulary(self.model_config.vocab_size)
        return masking.vocabulary_of(self.info.tokenizer)

    @property
    def batch_spec(self):
        shape = jax.ShapeDtypeStruct((self.info.batch_size, self.info.sequence_length), jnp.int32)
        return dict.fromkeys(("tokens", "targets", "segment_ids", "positions", "loss_mask"), shape)

    @property
    def turns(self):
        return (Turn("masked_lm", ("encoder/params/*",), self.loss),)

    def init(self, key):
        return {"encoder": self.model.init(key, jnp.zeros((1, min(8, self.info.sequence_length)), jnp.int32))}

    def loss(self, variables: Variables, batch: Batch, key: jax.Array) -> tuple[jax.Array, Aux]:
        """Mean negative log-likelihood in nats over the hidden tokens."""
        dropout, draw = jax.random.split(key)
        masked = self.mask(batch, jax.random.split(draw, batch["tokens"].shape[0]))
        rngs = {"dropout": dropout} if self.model_config.dropout else None
        nats, correct, weight = self._sums(variables, batch, masked, rngs)
        return nats / jnp.maximum(weight, 1.0), Aux(weight, {"accuracy": (correct, weight)})

    def evaluate(self, variables: Variables, batch: Batch, key: jax.Array) -> Metrics:
        """Loss and accuracy over hidden tokens that are the same at every evaluation (`masking.content_keys`)."""
        masked = self.mask(batch, masking.content_keys(batch["tokens"]))
        return text_sums(*self._sums(variables, batch, masked, None))

    def summarize(self, metrics: Mapping[str, float]) -> Mapping[str, float]:
        return perplexity.summarize(metrics)

    def mask(self, batch: Batch, keys: jax.Array) -> masking.Masked:
        """The batch with tokens to be found, chosen by one key for each row."""
        rate, whole = self.config.mask_rate, self.config.whole_words
        return masking.mask(keys, batch["tokens"], batch["segment_ids"], self.vocabulary, rate, whole)

    def _sums(self, variables, batch, masked: masking.Masked, rngs):
        params = variables["encoder"]
        hidden = self.model.apply(
            params,
            masked.tokens,
            positions=batch["positions"],
            segment_ids=batch["segment_ids"],
            deterministic=rngs is None,
            rngs=rngs,
            method="hidden",
        )
        chosen = jnp.take_along_axis(hidden, masked.places[..., None], axis=1)
        logits = self.model.apply(params, chosen, method="token_logits")
        nats = jnp.sum(token_cross_entropy(logits, masked.targets) * masked.weights)
        correct = jnp.sum((jnp.argmax(jax.lax.stop_gradient(logits), axis=-1) == masked.targets) * masked.weights)
        return nats, correct, jnp.sum(masked.weights)

    @property
    def flops_per_step(self) -> float:
        length = self.info.sequence_length
        predicted = masking.num_places(length, self.config.mask_rate) / length
        return self.info.batch_size * length * flops_per_token(self.model_config, length, predicted)

    @property
    def units_per_step(self) -> tuple[str, int]:
        return "tokens", self.info.batch_size * self.info.sequence_length

    def example_requests(self) -> Sequence[MaskedRequest]:
        return [MaskedRequest(prompt=text) for text in self.config.prompts]

    def pretrained(self, folder: str, shardings: Variables | None) -> Variables:
        """The weights of a Hugging Face folder, each slice read onto the device where it lies."""
        place = None if shardings is None else shardings["encoder"]["params"]
        return {"encoder": {"params": huggingface.load(folder, place, config=self.model_config)}}

    def export(self, folder: str | Path, variables: Variables, **settings: Any) -> None:
        """Writes a Hugging Face folder that transformers reads, tokenizer included."""
        huggingface.save(folder, variables["encoder"]["params"], self.model_config, self.info.tokenizer, **settings)


def network_of(config: Any) -> Network:
    """The row of NETWORKS whose config this is."""
    return next(network for network in NETWORKS.values() if isinstance(config, network.config_type))


def from_weights(folder: Path, tokenizer: Any, dtype: str = "float32") -> MaskedLM:
    """The task for a Hugging Face folder of a BERT, with or without its head for masked words."""
    kind, model = huggingface.read_config(folder)
    if not any(isinstance(model, network.config_type) for network in NETWORKS.values()):
        raise CheckpointError(f"{folder} holds a {kind}, which is no encoder with masked words.")
    model = dataclasses.replace(model, dtype=dtype)
    data = {"name": "text", "bidirectional": True, "sequence_length": model.context_length}
    info = dataclasses.replace(describe(data, tokenizer), vocab_size=model.vocab_size)
    return MaskedLM(model, info, MaskedLMConfig(model={}))


def build(section: Mapping[str, Any], info: DataInfo) -> MaskedLM:
    """The task from `config.task` and what the data knows of itself.

    Raises:
        ConfigError: unknown network, size or field, rows for another kind of model, or a tokenizer without a mask token.
    """
    config = structure(MaskedLMConfig, section, "config.task")
    if not info.bidirectional:
        raise ConfigError("masked_lm reads whole documents, each token its own target; set config.data.bidirectional=True.")
    network = choose("config.task.network", config.network, NETWORKS)
    model = _model_config(network, config.model, info.vocab_size or 0)
    if info.sequence_length > model.context_length:
        raise ConfigError(
            f"data.sequence_length {info.sequence_length} is longer than the model's context_length {model.context_length}; "
            "shorten the rows or raise config.task.model.context_length."
        )
    if not getattr(model, "masked_lm", True):
        raise ConfigError("config.task.model.masked_lm is False, but this task trains that head; leave it out.")
    if info.tokenizer is not None:
        masking.mask_token(info.tokenizer)
    return MaskedLM(model, info, config)


def _model_config(network: Network, section: Mapping[str, Any], vocab_size: int) -> Any:
    values = dict(section)
    size = values.pop("size", "")
    base = plain(choose("config.task.model.size:", size, network.sizes)) | network.fields if size else {}
    if vocab_size and not values.get("vocab_size"):
        values["vocab_size"] = max(vocab_size, base.get("vocab_size", 0))
    config = structure(network.config_type, base | values, "config.task.model")
    if vocab_size > config.vocab_size:
        raise ConfigError(
            f"config.task.model.vocab_size {config.vocab_size} is smaller than the tokenizer's {vocab_size}; raise it or drop it."
        )
    return config
