"""How a GPT writes: requests to prompts, prompts to batches, tokens to texts. The sampling half of the text tasks."""

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp

from genjax import decoding
from genjax.data import DataInfo
from genjax.errors import RequestError
from genjax.evaluation.continuations import Batching, Score, encode_pair, log_likelihoods
from genjax.layers.cache import init_cache
from genjax.models.gpt import GPT, GPTConfig
from genjax.models.transformer import unstack_blocks
from genjax.tasks import attention
from genjax.tasks.base import BaseTask
from genjax.tasks.contract import Artifact, AttentionMap, Batch, Variables
from genjax.tasks.decoding_weights import for_decoding, gpt_variables, unrolled


@dataclass(frozen=True)
class TextRequest(decoding.Settings):
    """One prompt to continue, with all knobs of decoding."""

    prompt: str = field(default="", metadata={"help": "the text to continue; empty: from the start of a document"})


@dataclass(frozen=True)
class TextSampling(BaseTask):
    """A task whose one component, "gpt", is a GPT over text.

    A family with requests of its own sets `request_type`, and overrides `_prompt_tokens` (what the model reads), `_settings` (how
    it writes) and `_artifacts` (what a person gets).
    """

    model_config: GPTConfig
    info: DataInfo

    request_type = TextRequest

    def log_likelihoods(self, variables: Variables, pairs: Sequence[tuple[str, str]], batch_size: int = 8) -> list[Score]:
        """log p(continuation | context) in nats for each pair of texts: the primitive of multiple choice.

        Args:
            variables: as `sampling_variables` gives them.
            pairs: (context, continuation). An empty context stands for the start of a document.
        """
        tokenizer = self.info.tokenizer
        prefix = tokenizer.bos_id if tokenizer.bos_id is not None else tokenizer.eos_id
        encoded = [encode_pair(tokenizer.encode, *pair) for pair in pairs]
        if tokenizer.adds_bos:
            encoded = [([prefix, *context], continuation) for context, continuation in encoded]
        score = functools.partial(self._score, variables["gpt"])
        return log_likelihoods(score, encoded, Batching(self.model_config.context_length, batch_size), prefix)

    def sampling_variables(self, variables: Variables) -> Variables:
        return {"gpt": gpt_variables(for_decoding(variables["gpt"]["params"], self.model_config.dtype))}

    def prepare(self, requests: Sequence[TextRequest]) -> Sequence[Batch]:
        return decoding.make_batches(
            [self._prompt_tokens(request) for request in requests],
            [self._settings(request) for request in requests],
            context_length=self.model_config.context_length,
            eos_ids=self._eos_ids,
        )

    def sample(self, variables: Variables, batch: Batch, key: jax.Array) -> Batch:
        return decoding.generate(self._step(variables), self._new_cache, batch, key)

    def stream(self, variables: Variables, batch: Batch, key: jax.Array) -> Iterator[Batch]:
        return self._decoder.stream(variables, batch, key, self.info.tokenizer.decode_bytes)

    def present(self, requests: Sequence[TextRequest], arrays: Sequence[Batch]) -> Sequence[Artifact]:
        settings = [self._settings(request) for request in requests]
        found = decoding.collect(arrays, settings, self.info.tokenizer.decode_bytes)
        pairs = zip(requests, found, strict=True)
        return [artifact for request, generations in pairs for artifact in self._artifacts(request, generations)]

    def attention(self, variables: Variables, request: TextRequest) -> Sequence[AttentionMap]:
        tokens = self._prompt_tokens(request)
        params = variables["gpt"]["params"]
        params = unstack_blocks(params) if self.model_config.scan_layers else params
        labels = attention.token_labels(self._tokenizer, tokens)
        return attention.of_text(self._decoding_model, {"params": params}, tokens, labels)

    def _prompt_tokens(self, request: TextRequest) -> list[int]:
        return self._encode(request.prompt)

    def _settings(self, request: TextRequest) -> decoding.Settings:
        return request

    def _artifacts(self, request: TextRequest, generations: Sequence[decoding.Generation]) -> list[Artifact]:
        return [
            Artifact("text", generation.text, {"prompt": request.prompt, "sample": number, **generation.metadata})
            for number, generation in enumerate(generations)
        ]

    def _encode(self, text: str) -> list[int]:
        tokenizer = self._tokenizer
        tokens = list(tokenizer.encode(text))
        if tokenizer.adds_bos:
            return [tokenizer.bos_id, *tokens]
        # A document begins after the end of the one before, so that is what an empty prompt continues.
        return tokens or ([] if tokenizer.eos_id is None else [tokenizer.eos_id])

    @property
    def _tokenizer(self):
        if self.info.tokenizer is None:
            raise RequestError("there is no tokenizer beside these weights; add tokenizer.json, or vocab.json and merges.txt.")
        return self.info.tokenizer

    @property
    def _eos_ids(self) -> tuple[int, ...]:
        tokenizer = self.info.tokenizer
        return () if tokenizer is None or tokenizer.eos_id is None else (tokenizer.eos_id,)

    @functools.cached_property
    def _decoding_model(self) -> GPT:
        return GPT(unrolled(self.model_config))

    @functools.cached_property
    def _decoder(self) -> decoding.ChunkedDecoder:
        return decoding.ChunkedDecoder(self._step, lambda variables, batch: self._new_cache)

    def _step(self, variables: Variables):
        params, model = variables["gpt"], self._decoding_model

        def step(tokens, cache):
            hidden, cache = model.apply(params, tokens, cache=cache, method="hidden")
            return model.apply(params, hidden[:, -1:], method="logits"), cache

        return step

    def _new_cache(self, rows: int, slots: int):
        c = self.model_config
        return init_cache(c.num_layers, rows, slots, c.kv_heads, c.head_width, jnp.dtype(c.dtype))

    @functools.cached_property
    def _score(self):
        return jax.jit(
            lambda params, tokens, segment_ids, positions: self._decoding_model.apply(
                params, tokens, segment_ids=segment_ids, positions=positions
            )
        )
