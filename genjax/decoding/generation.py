"""From a prepared batch to finished texts: in one program, or in chunks between which the host looks at the text.

A task gives two functions: `step` (see `search.Step`) and `new_cache(prompts, slots)`, a KV cache without tokens. Where prompts
answer sources, the cache that a task makes holds what cross-attention reads of the batch's `source`.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Key

from genjax.decoding.batches import HOST
from genjax.decoding.beam import beam_search
from genjax.decoding.search import DecodeState, Step, advance, row_keys, start
from genjax.decoding.stopping import DecodeBytes, TextStream
from genjax.layers.cache import KVCache
from genjax.parallel.processes import to_host

NewCache = Callable[[int, int], KVCache]
RESULTS = ("output", "num_tokens", "log_probs", "ended")


def generate(step: Step, new_cache: NewCache, batch: Mapping[str, Any], key: Key[Array, ""]) -> dict[str, Array]:
    """All tokens of a batch (see `batches`). Pure: the body of `task.sample`.

    Returns:
        output, num_tokens, log_probs, ended as in `DecodeState`, with beams scores as in `BeamResult`; owner and sample.
    """
    if "beam" in batch:
        count, beams, capacity = batch["output"].shape
        slots = batch["tokens"].shape[1] + capacity
        prompts = (batch["tokens"], batch["lengths"], batch["controls"], batch["beam"])
        result = beam_search(step, new_cache(count, slots), *prompts, beams, capacity)
        return _answer(batch, result) | {"scores": result.scores}
    state = begin(step, new_cache, batch, key)
    return _answer(batch, advance(step, state, batch["controls"], batch["output"].shape[1]))


def begin(step: Step, new_cache: NewCache, batch: Mapping[str, Any], key: Key[Array, ""]) -> DecodeState:
    """Reads the prompts of a batch without beams and chooses the first tokens."""
    count, slots = batch["tokens"].shape
    capacity = batch["output"].shape[1]
    keys = row_keys(key, batch["streams"])
    cache = new_cache(count, slots + capacity)
    return start(step, cache, batch["tokens"], batch["lengths"], batch["controls"], keys, capacity)


def _answer(batch, result) -> dict[str, Array]:
    return {name: getattr(result, name) for name in RESULTS} | {"owner": batch["owner"], "sample": batch["sample"]}


class ChunkedDecoder:
    """Decoding driven by the host, a few tokens at a time. The same tokens as `generate`.

    Two programs are compiled for a shape, one for the prompt and one for any number of tokens after it.

    Args:
        make_step: variables to `step`.
        make_new_cache: variables and batch to `new_cache`.

    Attributes:
        compilations: how often a program was traced.
    """

    def __init__(self, make_step: Callable[[Any], Step], make_new_cache: Callable[[Any, Mapping[str, Any]], NewCache]):
        self.compilations = 0

        def whole(variables, batch, key):
            self.compilations += 1
            return generate(make_step(variables), make_new_cache(variables, batch), batch, key)

        def first(variables, batch, key):
            self.compilations += 1
            return begin(make_step(variables), make_new_cache(variables, batch), batch, key)

        def further(variables, state, controls, stopped, num_steps):
            self.compilations += 1
            return advance(make_step(variables), state.replace(finished=state.finished | stopped), controls, num_steps)

        self._whole, self._first = jax.jit(whole), jax.jit(first)
        self._further = jax.jit(further, donate_argnums=1)

    def stream(
        self, variables: Any, batch: Mapping[str, Any], key: Key[Array, ""], decode_bytes: DecodeBytes, chunk: int = 4
    ) -> Iterator[dict[str, Any]]:
        """Pieces with owner, sample and `text`: for each row the text that has become certain since the piece before.

        The last piece also has all that `generate` gives. A row also ends at its stop strings, up to `chunk` tokens after
        them. With beams there is one piece, without `text`.
        """
        host, arrays = batch.get(HOST, {}), {name: value for name, value in batch.items() if name != HOST}
        if "beam" in arrays:
            yield to_host(self._whole(variables, arrays, key))
            return
        names = {"owner": batch["owner"], "sample": batch["sample"]}
        rows, capacity = batch["output"].shape
        texts = [TextStream(decode_bytes, stop) for stop in host.get("stop", [()] * rows)]
        seen = np.zeros((rows,), np.int64)
        state = self._first(variables, arrays, key)
        while True:
            values = to_host({name: getattr(state, name) for name in (*RESULTS, "finished")})
            ready = []
            for row, text in enumerate(texts):
                length = int(values["num_tokens"][row]) - int(values["ended"][row])
                ready.append(text.push(values["output"][row, seen[row] : length].tolist()))
                seen[row] = max(seen[row], length)
            stopped = np.array([text.stopped for text in texts])
            full = int(values["num_tokens"].max()) >= capacity
            if full or bool((values.pop("finished") | stopped).all()):
                ready = [begun + text.finish() for begun, text in zip(ready, texts, strict=True)]
                yield values | names | {"text": ready}
                return
            yield names | {"text": ready}
            state = self._further(variables, state, batch["controls"], stopped, np.int32(chunk))
