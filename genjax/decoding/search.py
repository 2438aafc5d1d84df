"""Greedy decoding and sampling: prefill once, then one loop on the device, in one piece or in several.

The loop knows no network: it takes a `step` that reads tokens into a KV cache and gives logits. Prompts are left-padded to one
length, so that all rows write the same slot; a row that has ended goes on being computed and writes nothing.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Key

from genjax.decoding.cache_rows import repeat_rows
from genjax.decoding.processors import Controls, choose
from genjax.layers.cache import KVCache
from genjax.parallel.rules import constrain

# step(tokens [rows length], cache) -> (logits [rows length vocabulary], or [rows vocabulary] of the last position; cache)
Step = Callable[[Int[Array, "rows length"], KVCache], tuple[Float[Array, "..."], KVCache]]


@struct.dataclass
class DecodeState:
    """Everything between two steps. The last token of each row is chosen but not yet in the cache.

    Attributes:
        cache: of the `prompt + capacity` slots.
        prompt: the left-padded prompts.
        padding: how many slots of a row come before its prompt.
        output: the continuation, 0 beyond a row's end.
        log_probs: of the chosen tokens, in nats, under the model's own distribution (before any knob); 0 where not asked for.
        num_tokens: length of each row's continuation, its eos included.
        ended: whether an eos ended the row.
        finished: whether the row writes no more: ended, or as long as it may be.
        count: slots of `output` in use.
        keys: a random key for each row; the i-th token is drawn with fold_in(key, i).
    """

    cache: Any
    prompt: Int[Array, "rows prompt"]
    padding: Int[Array, "rows"]
    output: Int[Array, "rows capacity"]
    log_probs: Float[Array, "rows capacity"]
    num_tokens: Int[Array, "rows"]
    ended: Bool[Array, "rows"]
    finished: Bool[Array, "rows"]
    count: Int[Array, ""]
    keys: Key[Array, "rows"]


def row_keys(key: Key[Array, ""], streams: Int[Array, "rows 2"]) -> Key[Array, "rows"]:
    """A key for each row from the two numbers that name its stream of randomness (its prompt, which sample of it): what a row
    draws does not depend on its place or on what else is in the batch."""
    fold = lambda stream: jax.random.fold_in(jax.random.fold_in(key, stream[0]), stream[1])  # noqa: E731
    return jax.vmap(fold)(streams)


def start(
    step: Step,
    cache: KVCache,
    tokens: Int[Array, "prompts prompt"],
    lengths: Int[Array, "prompts"],
    controls: Controls,
    keys: Key[Array, "rows"],
    capacity: int,
) -> DecodeState:
    """Reads the prompts and chooses the first token of each row.

    Args:
        step: see `Step`.
        cache: empty, with a row for each prompt and at least `prompt + capacity - 1` slots.
        tokens: left-padded prompts.
        lengths: of the prompts without padding, 1 or more.
        controls: for each row; `rows` is a multiple of `prompts`, and that many rows in turn continue each prompt. A prompt is
            read once.
        capacity: tokens that the output can hold.
    """
    prompts, length = tokens.shape
    samples = controls.rows // prompts
    padding = length - lengths
    logits, cache = step(tokens, cache.replace(start=padding.astype(jnp.int32)))
    logits = last_logits(logits)
    if samples > 1:
        cache = repeat_rows(cache, samples)
        logits, tokens, padding = (jnp.repeat(x, samples, axis=0) for x in (logits, tokens, padding))
    state = DecodeState(
        cache=cache,
        prompt=tokens,
        padding=padding,
        output=jnp.zeros((controls.rows, capacity), jnp.int32),
        log_probs=jnp.zeros((controls.rows, capacity), jnp.float32),
        num_tokens=jnp.zeros((controls.rows,), jnp.int32),
        ended=jnp.zeros((controls.rows,), jnp.bool_),
        finished=jnp.asarray(controls.max_new_tokens) <= 0,
        count=jnp.zeros((), jnp.int32),
        keys=keys,
    )
    return _append(state, logits, controls)


def advance(step: Step, state: DecodeState, controls: Controls, num_steps: int | Int[Array, ""]) -> DecodeState:
    """Up to `num_steps` (traced) more tokens; fewer when every row has finished or the output is full.

    Any division into calls gives the same tokens. Donate the state when jitting.
    """
    capacity = state.output.shape[1]

    def unfinished(carry):
        done, state = carry
        return (done < num_steps) & (state.count < capacity) & ~jnp.all(state.finished)

    def body(carry):
        done, state = carry
        last = lax.dynamic_slice_in_dim(state.output, state.count - 1, 1, axis=1)
        logits, cache = step(last, state.cache)
        return done + 1, _append(state.replace(cache=cache), last_logits(logits), controls)

    return lax.while_loop(unfinished, body, (jnp.zeros((), jnp.int32), state))[1]


def last_logits(logits: Float[Array, "..."]) -> Float[Array, "rows vocabulary"]:
    """Float32 logits of the last position, with the whole vocabulary on each device of a row (choosing compares all of it)."""
    logits = logits if logits.ndim == 2 else logits[:, -1]
    return constrain(logits.astype(jnp.float32), "activation_batch", None)


def history(
    prompt: Int[Array, "rows prompt"], padding: Int[Array, "rows"], output: Int[Array, "rows capacity"], count: Int[Array, ""]
) -> tuple[Int[Array, "rows slots"], Bool[Array, "rows slots"]]:
    """Prompt and continuation side by side, and which of the slots hold a token."""
    in_prompt = jnp.arange(prompt.shape[1]) >= padding[:, None]
    in_output = jnp.broadcast_to(jnp.arange(output.shape[1]) < count, output.shape)
    return jnp.concatenate([prompt, output], axis=1), jnp.concatenate([in_prompt, in_output], axis=1)


def is_end(tokens: Int[Array, "*rows"], eos: Int[Array, "*rows ends"]) -> Bool[Array, "*rows"]:
    """Whether a token is one of its row's eos ids."""
    return jnp.any(tokens[..., None] == eos, axis=-1)


def _append(state: DecodeState, logits: Float[Array, "rows vocabulary"], controls: Controls) -> DecodeState:
    """Chooses a token for each row and writes it where the row is not finished."""
    seen = history(state.prompt, state.padding, state.output, state.count)
    keys = jax.vmap(jax.random.fold_in, (0, None))(state.keys, state.count)
    chosen, log_probs = choose(logits, controls, keys, *seen, state.num_tokens)
    active = ~state.finished
    num_tokens = state.num_tokens + active
    ended = state.ended | (active & is_end(chosen, controls.eos))
    column = lambda buffer, values: lax.dynamic_update_slice_in_dim(  # noqa: E731
        buffer, jnp.where(active, values, 0)[:, None], state.count, axis=1
    )
    return state.replace(
        output=column(state.output, chosen),
        log_probs=column(state.log_probs, log_probs),
        num_tokens=num_tokens,
        ended=ended,
        finished=state.finished | ended | (num_tokens >= controls.max_new_tokens),
        count=state.count + 1,
    )
