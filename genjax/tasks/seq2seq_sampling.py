"""How an encoder-decoder answers: sources to batches, batches to texts. The sampling half of the sequence-to-sequence tasks.

The encoder reads each source once, and the keys and values of cross-attention are computed once, whatever the number of samples
or beams.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from flax import linen as nn

from genjax import decoding
from genjax.errors import RequestError
from genjax.layers.cache import KVCache
from genjax.tasks import attention
from genjax.tasks.base import BaseTask
from genjax.tasks.contract import Artifact, AttentionMap, Batch, Variables
from genjax.tasks.decoding_weights import for_decoding, unrolled

COMPONENT = "seq2seq"


@dataclass(frozen=True)
class Seq2SeqSampling(BaseTask):
    """A task whose one component is a network with `encode`, `decode`, `logits` and `start_cache`.

    A family sets `request_type` and `network_type`, and defines `_source` (what the encoder reads for a request), `_encode` (how)
    and `_limits` (how much).
    """

    model_config: Any
    info: Any

    network_type = nn.Module

    def _source(self, request: Any) -> np.ndarray:
        """[source ...], tokens or features; RequestError where the request has none."""
        raise NotImplementedError

    def _encode(self, model: Any, source: jax.Array, mask: jax.Array, positions: Any, deterministic: bool):
        """(what the decoder attends to, its segment ids), called as a method of the network.

        Args:
            mask: 0 where the source is padding; numbers of the sources where several are packed into a row.
        """
        raise NotImplementedError

    @property
    def _limits(self) -> tuple[int, int]:
        """The longest source, and the longest target with its first token, which no source gives."""
        raise NotImplementedError

    def _begin(self, request: Any) -> list[int]:
        """The tokens that an answer begins with; the model goes on from them."""
        return [self.model_config.start_id]

    def _about(self, request: Any) -> dict[str, Any]:
        """What the metadata of an answer say of its request."""
        raise NotImplementedError

    def sampling_variables(self, variables: Variables) -> Variables:
        return {COMPONENT: {"params": for_decoding(variables[COMPONENT]["params"], self.model_config.dtype)}}

    def prepare(self, requests: Sequence[Any]) -> Sequence[Batch]:
        source_length, target_length = self._limits
        return decoding.make_batches(
            [self._begin(request) for request in requests],
            requests,
            context_length=target_length + 1,  # the last token is written and not read again
            eos_ids=self._eos_ids,
            sources=[self._source(request) for request in requests],
            source_length=source_length,
        )

    def sample(self, variables: Variables, batch: Batch, key: jax.Array) -> Batch:
        return decoding.generate(self._step(variables), self._make_new_cache(variables, batch), batch, key)

    def stream(self, variables: Variables, batch: Batch, key: jax.Array) -> Iterator[Batch]:
        begun = [False] * len(batch["owner"])
        for piece in self._decoder.stream(variables, batch, key, self._tokenizer.decode_bytes):
            if "text" in piece:
                texts = [text if old else text.lstrip() for old, text in zip(begun, piece["text"], strict=True)]
                begun = [old or bool(text) for old, text in zip(begun, texts, strict=True)]
                piece = {**piece, "text": texts}
            yield piece

    def present(self, requests: Sequence[Any], arrays: Sequence[Batch]) -> Sequence[Artifact]:
        """White space that a tokenizer puts before the first word is left out."""
        found = decoding.collect(arrays, requests, self._tokenizer.decode_bytes)
        clean = str if any("text" in batch for batch in arrays) else str.lstrip  # pieces have been cleaned already
        return [
            Artifact("text", clean(generation.text), {**self._about(request), "sample": number, **generation.metadata})
            for request, generations in zip(requests, found, strict=True)
            for number, generation in enumerate(generations)
        ]

    def attention(self, variables: Variables, request: Any) -> Sequence[AttentionMap]:
        """How the source was read, and what each token of the first answer to it sees."""
        variables = self.sampling_variables(variables)
        request = dataclasses.replace(request, log_probs=True)  # its metadata then list the tokens
        (batch,) = self.prepare([request])
        arrays = jax.jit(self.sample)(variables, {k: v for k, v in batch.items() if k != "host"}, jax.random.key(0))
        answer = self.present([request], [jax.device_get(arrays)])[0].metadata["tokens"]
        source, target = self._source(request), [*self._begin(request), *answer[:-1]]  # the last is written and not read
        labels = attention.token_labels(self._tokenizer, source.tolist()) if source.ndim == 1 else ()
        written = attention.token_labels(self._tokenizer, target)
        return attention.of_pair(self._decoding_model, variables[COMPONENT], source[None], target, labels, written)

    @property
    def _tokenizer(self):
        if self.info.tokenizer is None:
            raise RequestError("there is no tokenizer beside these weights; add tokenizer.json or spiece.model.")
        return self.info.tokenizer

    @property
    def _eos_ids(self) -> tuple[int, ...]:
        eos = self._tokenizer.eos_id
        return () if eos is None else (eos,)

    @functools.cached_property
    def _decoding_model(self) -> nn.Module:
        return self.network_type(unrolled(self.model_config))

    @functools.cached_property
    def _decoder(self) -> decoding.ChunkedDecoder:
        return decoding.ChunkedDecoder(self._step, self._make_new_cache)

    def _step(self, variables: Variables):
        params, model = variables[COMPONENT], self._decoding_model

        def step(tokens, cache):
            hidden, cache = model.apply(params, tokens, cache=cache, method="decode")
            return model.apply(params, hidden[:, -1:], method="logits"), cache

        return step

    def _make_new_cache(self, variables: Variables, batch: Batch) -> Callable[[int, int], KVCache]:
        """`new_cache(sources, slots)` for `decoding`: the sources are read, and nothing is written."""

        def begin(model: Any, slots: int) -> KVCache:
            context, ids = self._encode(model, batch["source"], batch["source_mask"], None, True)
            return model.start_cache(context, ids, slots)

        return lambda sources, slots: self._decoding_model.apply(variables[COMPONENT], slots, method=begin)
