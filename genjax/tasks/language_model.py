"""Next-token prediction with a GPT: the task of the language and code models."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from genjax.config import choose, plain, structure
from genjax.data import DataInfo, describe
from genjax.errors import ConfigError
from genjax.evaluation import perplexity
from genjax.evaluation.perplexity import text_sums
from genjax.interop import huggingface
from genjax.layers.attention import choose_implementation
from genjax.models.gpt import GPT, GPTConfig, flops_per_token
from genjax.models.gpt_sizes import GPT_SIZES
from genjax.tasks.contract import Aux, Batch, Metrics, Turn, Variables
from genjax.tasks.losses import language_model_sums, logits_chunk
from genjax.tasks.text_sampling import TextRequest, TextSampling


@dataclass(frozen=True)
class LanguageModelConfig:
    """The section `config.task`."""

    model: Mapping[str, Any]  # fields of GPTConfig; `size` takes the rest from a row of models/gpt_sizes.py
    name: str = "language_model"
    z_loss: float = 0.0  # weight of the squared log-normalizer (PaLM, section 5); 0: none
    loss_chunk: int = -1  # positions whose logits exist at a time; 0: all; -1: chosen from the logits' size
    prompts: tuple[str, ...] = ("\n",)  # what the run's samples continue
    sample_tokens: int = 128  # how far


def model_config(section: Mapping[str, Any], vocab_size: int) -> GPTConfig:
    """The network's fields: those of the named `size`, with the section's own keys in their place.

    Raises:
        ConfigError: unknown size or field, or a vocabulary smaller than the tokenizer's.
    """
    values = dict(section)
    size = values.pop("size", "")
    base = plain(choose("config.task.model.size:", size, GPT_SIZES)) if size else {}
    if vocab_size and not values.get("vocab_size"):
        values["vocab_size"] = max(vocab_size, base.get("vocab_size", 0))
    config = structure(GPTConfig, base | values, "config.task.model")
    if vocab_size > config.vocab_size:
        raise ConfigError(
            f"config.task.model.vocab_size {config.vocab_size} is smaller than the tokenizer's {vocab_size}; raise it or drop it."
        )
    return config


@dataclass(frozen=True)
class LanguageModel(TextSampling):
    """A GPT under next-token cross-entropy.

    FLOPs follow `models.gpt.flops_per_token` with causal attention counted as the half that is not masked; what remat computes
    again is not counted (MFU, not HFU).
    """

    config: LanguageModelConfig

    config_type = LanguageModelConfig

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know before the run starts."""
        network, length = self.model_config, self.info.sequence_length
        choice = choose_implementation(
            network.attention,
            query_length=length,
            key_length=length,
            head_dim=network.head_width,
            dtype=jnp.dtype(network.dtype),
        )
        return (f"data: {self.info}", f"attention: {choice.implementation} ({choice.reason})")

    @functools.cached_property
    def model(self) -> GPT:
        return GPT(self.model_config)

    @property
    def batch_spec(self):
        shape = jax.ShapeDtypeStruct((self.info.batch_size, self.info.sequence_length), jnp.int32)
        return dict.fromkeys(("tokens", "targets", "segment_ids", "positions", "loss_mask"), shape)

    @property
    def turns(self):
        return (Turn("language_model", ("gpt/params/*",), self.loss),)

    def init(self, key):
        return {"gpt": self.model.init(key, jnp.zeros((1, min(8, self.info.sequence_length)), jnp.int32))}

    def loss(self, variables: Variables, batch: Batch, key: jax.Array) -> tuple[jax.Array, Aux]:
        """Mean negative log-likelihood in nats over the unmasked targets, with the penalty of `z_loss`."""
        deterministic = self.model_config.dropout == 0.0
        nats, correct, weight = self._sums(variables, batch, key, deterministic, self.config.z_loss)
        loss = nats / jnp.maximum(weight, 1.0)
        return loss, Aux(weight, {"accuracy": (correct, weight)})

    def evaluate(self, variables: Variables, batch: Batch, key: jax.Array) -> Metrics:
        nats, correct, weight = self._sums(variables, batch, key, deterministic=True)
        text_bytes = None
        if self.info.tokenizer is not None:
            token_bytes = jnp.asarray(self.info.tokenizer.token_bytes)
            text_bytes = jnp.sum(jnp.where(batch["loss_mask"] > 0, token_bytes[batch["targets"]], 0), dtype=jnp.float32)
        return text_sums(nats, correct, weight, text_bytes)

    def summarize(self, metrics: Mapping[str, float]) -> Mapping[str, float]:
        return perplexity.summarize(metrics)

    def _sums(self, variables, batch, key, deterministic, z_loss=0.0):
        params = variables["gpt"]
        hidden, _ = self.model.apply(
            params,
            batch["tokens"],
            positions=batch["positions"],
            segment_ids=batch["segment_ids"],
            deterministic=deterministic,
            rngs=None if deterministic else {"dropout": key},
            method="hidden",
        )
        to_logits = lambda h: self.model.apply(params, h, method="logits")  # noqa: E731
        mask = batch["loss_mask"]
        chunk = self._loss_chunk(batch["tokens"].shape)
        nats, correct = language_model_sums(hidden, batch["targets"], mask, to_logits, chunk, z_loss)
        return nats, correct, jnp.sum(mask.astype(jnp.float32))

    def _loss_chunk(self, shape: tuple[int, int]) -> int:
        return self.config.loss_chunk if self.config.loss_chunk >= 0 else logits_chunk(*shape, self.model_config.vocab_size)

    @property
    def flops_per_step(self) -> float:
        tokens = self.info.batch_size * self.info.sequence_length
        return tokens * flops_per_token(self.model_config, self.info.sequence_length)

    @property
    def units_per_step(self) -> tuple[str, int]:
        return "tokens", self.info.batch_size * self.info.sequence_length

    def example_requests(self) -> Sequence[TextRequest]:
        room = self.model_config.context_length
        requests = [self.request_type(prompt=text, max_new_tokens=self.config.sample_tokens) for text in self.config.prompts]
        return [r for r in requests if len(self._prompt_tokens(r)) + r.max_new_tokens <= room]

    def pretrained(self, folder: str, shardings: Variables | None) -> Variables:
        """The weights of a Hugging Face folder, each slice read onto the device where it lies."""
        place = None if shardings is None else shardings["gpt"]["params"]
        return {"gpt": {"params": huggingface.load(folder, place, config=self.model_config)}}

    def export(self, folder: str | Path, variables: Variables, **settings: Any) -> None:
        """Writes a Hugging Face folder that transformers reads, tokenizer included."""
        huggingface.save(folder, variables["gpt"]["params"], self.model_config, self.info.tokenizer, **settings)


def from_weights(
    folder: Path, tokenizer: Any, dtype: str = "float32", kind: type[LanguageModel] = LanguageModel
) -> LanguageModel:
    """The task, of the class `kind`, for a Hugging Face folder of a GPT-2 or Llama."""
    _, network = huggingface.read_config(folder)
    network = dataclasses.replace(network, dtype=dtype)
    info = dataclasses.replace(
        describe({"name": "text", "sequence_length": network.context_length}, tokenizer), vocab_size=network.vocab_size
    )
    return kind(network, info, kind.config_type(model={}))


def build(section: Mapping[str, Any], info: DataInfo, kind: type[LanguageModel] = LanguageModel) -> LanguageModel:
    """The task, of the class `kind`, from `config.task` and what the data knows of itself."""
    config = structure(kind.config_type, section, "config.task")
    if info.bidirectional:
        raise ConfigError("config.data.bidirectional makes each token its own target; set it to False to predict the next token.")
    network = model_config(config.model, info.vocab_size or 0)
    if info.sequence_length > network.context_length:
        raise ConfigError(
            f"data.sequence_length {info.sequence_length} is longer than the model's context_length {network.context_length}; "
            "shorten the rows or raise config.task.model.context_length."
        )
    if config.loss_chunk > 0 and info.sequence_length % config.loss_chunk:
        raise ConfigError(f"config.task.loss_chunk {config.loss_chunk} does not divide sequence_length {info.sequence_length}.")
    return kind(network, info, config)
