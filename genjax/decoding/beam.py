"""Beam search with length penalty, in one loop on the device.

The `num_beams` best unfinished continuations of each prompt go on together; finished ones wait in a list of the same size,
ordered by score = log-probability / length ** length_penalty. The rules for when a prompt is done are those of transformers 5,
and its `generate(num_beams=...)` gives the same sequences.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from genjax.decoding import select
from genjax.decoding.cache_rows import repeat_rows, take_rows
from genjax.decoding.processors import Controls, constrain_scores
from genjax.decoding.search import Step, history, is_end, last_logits
from genjax.layers.cache import KVCache

# Scores of what is not there: lower than any sum of log-probabilities, and still a number when a score is added to it.
NO_SCORE = -1e9

EARLY_STOPPING = {"heuristic": 0, "full": 1, "never": 2}


@struct.dataclass
class BeamControls:
    """The knobs of each prompt that only beam search has.

    Attributes:
        length_penalty: exponent of the length in the score; above 0 favours longer sequences, 0 compares log-probabilities.
        early_stopping: when a prompt with `num_beams` finished sequences is done. 0 (transformers' False): when the best
            unfinished one, were it to end now, could not enter the list. 1 (True): at once. 2 ("never"): when no unfinished one
            can enter it any more, whatever its length.
    """

    length_penalty: Float[Array, "prompts"]
    early_stopping: Int[Array, "prompts"]


@struct.dataclass
class BeamResult:
    """The finished sequences of each prompt, best first.

    Attributes:
        output: tokens, 0 beyond a sequence's end.
        num_tokens: length of each, its eos included.
        scores: log-probability / num_tokens ** length_penalty.
        log_probs: of each token in nats, under the model's own distribution.
        ended: whether the sequence ends in an eos; else it is as long as it may be.
    """

    output: Int[Array, "prompts beams capacity"]
    num_tokens: Int[Array, "prompts beams"]
    scores: Float[Array, "prompts beams"]
    log_probs: Float[Array, "prompts beams capacity"]
    ended: Bool[Array, "prompts beams"]


@struct.dataclass
class _Beams:
    """Unfinished continuations of all prompts, and the finished ones."""

    cache: Any  # prompts * beams rows
    running: Int[Array, "prompts beams capacity"]
    running_log_probs: Float[Array, "prompts beams capacity"]
    running_scores: Float[Array, "prompts beams"]  # summed log-probabilities, after the processors
    finished: BeamResult
    is_finished: Bool[Array, "prompts beams"]  # which places of the list are taken
    alive: Bool[Array, "prompts"]
    count: Int[Array, ""]


def beam_search(
    step: Step,
    cache: KVCache,
    tokens: Int[Array, "prompts prompt"],
    lengths: Int[Array, "prompts"],
    controls: Controls,
    beam: BeamControls,
    num_beams: int,
    capacity: int,
) -> BeamResult:
    """The `num_beams` best sequences of each prompt; prompts do not influence each other.

    Args:
        step: see `genjax.decoding.search.Step`.
        cache: empty, with a row for each prompt and at least `prompt + capacity - 1` slots.
        tokens: left-padded prompts.
        lengths: of the prompts without padding, 1 or more.
        controls: for each prompt. Lengths, eos and repetition penalty count; what belongs to sampling does not.
        capacity: tokens that the output can hold; max_new_tokens of every row must be within it.
    """
    prompts, length = tokens.shape
    padding = length - lengths
    logits, cache = step(tokens, cache.replace(start=padding.astype(jnp.int32)))
    logits = jnp.repeat(last_logits(logits), num_beams, axis=0)
    nothing = jnp.zeros((prompts, num_beams, capacity), jnp.int32)
    no_score = jnp.full((prompts, num_beams), NO_SCORE)
    no_beam = jnp.zeros((prompts, num_beams), jnp.bool_)
    no_log_probs = jnp.zeros(nothing.shape, jnp.float32)
    state = _Beams(
        cache=repeat_rows(cache, num_beams),
        running=nothing,
        running_log_probs=no_log_probs,
        running_scores=no_score.at[:, 0].set(0.0),  # the beams are equal: only the first may branch
        finished=BeamResult(nothing, jnp.zeros_like(no_beam, jnp.int32), no_score, no_log_probs, no_beam),
        is_finished=no_beam,
        alive=jnp.asarray(controls.max_new_tokens) > 0,
        count=jnp.zeros((), jnp.int32),
    )
    tokens, padding = jnp.repeat(tokens, num_beams, axis=0), jnp.repeat(padding, num_beams, axis=0)
    per_beam = jax.tree.map(lambda x: jnp.repeat(x, num_beams, axis=0), controls)

    def expand(state: _Beams, logits: Float[Array, "rows vocabulary"]) -> _Beams:
        seen = history(tokens, padding, state.running.reshape(-1, capacity), state.count)
        return _expand(state, logits, seen, controls, per_beam, beam)

    def body(state: _Beams) -> _Beams:
        last = lax.dynamic_slice_in_dim(state.running, state.count - 1, 1, axis=2).reshape(-1, 1)
        logits, cache = step(last, state.cache)
        return expand(state.replace(cache=cache), last_logits(logits))

    more = lambda state: (state.count < capacity) & jnp.any(state.alive)  # noqa: E731
    return lax.while_loop(more, body, expand(state, logits)).finished


def _expand(state: _Beams, logits, seen, controls: Controls, per_beam: Controls, beam: BeamControls) -> _Beams:
    """One token more: candidates, the beams that go on, the finished list, and which prompts are done."""
    prompts, beams, _ = state.running.shape
    size = logits.shape[-1]
    # At most one candidate of a beam is any one eos, so that these leave `beams` unfinished ones.
    keep = min(max(2, 1 + controls.eos.shape[1]) * beams, beams * size)
    log_probs = jax.nn.log_softmax(logits, axis=-1)
    # Like transformers, the processors see log-probabilities here, and the score is of what they leave.
    processed = constrain_scores(log_probs, per_beam, *seen, state.count)
    total = (processed.reshape(prompts, beams, size) + state.running_scores[:, :, None]).reshape(prompts, beams * size)
    scores, index = select.best(total, keep)
    parent, token = index // size, index % size

    gain = jnp.take_along_axis(log_probs.reshape(prompts, beams * size), index, axis=1)
    column = lambda buffer, values: lax.dynamic_update_slice_in_dim(  # noqa: E731
        buffer, values[:, :, None], state.count, axis=2
    )
    candidates = column(_take(state.running, parent), token)
    candidate_log_probs = column(_take(state.running_log_probs, parent), gain)
    length = state.count + 1
    is_eos = is_end(token, controls.eos[:, None, :])
    hits = is_eos | (length >= controls.max_new_tokens)[:, None]

    # Those that go on.
    running_scores, chosen = lax.top_k(scores + hits * NO_SCORE, beams)
    rows = (jnp.arange(prompts)[:, None] * beams + jnp.take_along_axis(parent, chosen, axis=1)).reshape(-1)

    # The finished list. Only the `beams` best candidates may enter it; the others are there to go on.
    power = length.astype(jnp.float32) ** beam.length_penalty
    full = jnp.all(state.is_finished, axis=1) & (beam.early_stopping == EARLY_STOPPING["full"])
    enters = hits & (jnp.arange(keep) < beams) & ~full[:, None]
    new = BeamResult(
        output=candidates,
        num_tokens=jnp.broadcast_to(length, (prompts, keep)),
        scores=jnp.where(enters, scores / power[:, None], NO_SCORE),
        log_probs=candidate_log_probs,
        ended=is_eos,
    )
    merged = jax.tree.map(lambda old, more: jnp.concatenate([old, more], axis=1), state.finished, new)
    best = lax.top_k(merged.scores, beams)[1]
    finished = jax.tree.map(lambda x: _take(x, best), merged)
    is_finished = _take(jnp.concatenate([state.is_finished, enters], axis=1), best)
    # A prompt that is done keeps its list, whatever its rows still compute.
    where_alive = lambda new, old: jnp.where(state.alive.reshape((-1,) + (1,) * (new.ndim - 1)), new, old)  # noqa: E731
    finished = jax.tree.map(where_alive, finished, state.finished)
    is_finished = where_alive(is_finished, state.is_finished)

    # Which prompts may still improve their list.
    favours_long = (beam.early_stopping == EARLY_STOPPING["never"]) & (beam.length_penalty > 0)
    hypothetical = jnp.where(favours_long, controls.max_new_tokens, length).astype(jnp.float32)
    attainable = running_scores[:, 0] / hypothetical**beam.length_penalty
    worst = jnp.where(is_finished, finished.scores.min(axis=1, keepdims=True), NO_SCORE)
    improvable = jnp.any(attainable[:, None] > worst, axis=1)
    closed = jnp.all(is_finished, axis=1) & (beam.early_stopping == EARLY_STOPPING["full"])
    return state.replace(
        cache=take_rows(state.cache, rows),
        running=_take(candidates, chosen),
        running_log_probs=_take(candidate_log_probs, chosen),
        running_scores=running_scores,
        finished=finished,
        is_finished=is_finished,
        alive=state.alive & improvable & ~closed & ~jnp.all(hits, axis=1),
        count=length,
    )


def _take(values: Array, index: Int[Array, "prompts chosen"]) -> Array:
    """values[b, index[b, j], ...]"""
    return jnp.take_along_axis(values, index.reshape(index.shape + (1,) * (values.ndim - 2)), axis=1)
