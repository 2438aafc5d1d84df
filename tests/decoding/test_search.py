"""Greedy decoding and sampling on a toy network, against a loop without cache, padding or batch."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from genjax.decoding import search
from genjax.decoding.processors import make_controls
from tests.decoding.toy_network import Toy, left_pad

VOCAB, CAPACITY = 23, 16
PROMPTS = [[5, 3, 9, 1], [7], [2, 2, 20, 4, 11, 6], [1, 0]]
TOY = Toy(VOCAB)


def streams(count, first=0):
    return jnp.stack([jnp.arange(first, first + count), jnp.zeros((count,), int)], axis=1)


@functools.partial(jax.jit, static_argnames=("capacity",))
def begin(tokens, lengths, controls, keys, capacity=CAPACITY):
    cache = TOY.new_cache(tokens.shape[0], tokens.shape[1] + capacity)
    return search.start(TOY.step, cache, tokens, lengths, controls, keys, capacity)


@functools.partial(jax.jit, donate_argnums=0)
def go_on(state, controls, num_steps):
    return search.advance(TOY.step, state, controls, num_steps)


def generate(prompts, controls, ids=None, seed=0, length=8):
    tokens, lengths = left_pad(prompts, length)
    ids = streams(controls.rows) if ids is None else ids
    state = begin(tokens, lengths, controls, search.row_keys(jax.random.key(seed), ids))
    return go_on(state, controls, CAPACITY)


def continuation(state, row):
    return np.asarray(state.output[row, : state.num_tokens[row]]).tolist()


def greedy_by_hand(prompt, count, eos=(), penalty=1.0):
    tokens = list(prompt)
    for _ in range(count):
        logits = TOY.logits(tokens)
        seen = np.isin(np.arange(VOCAB), tokens)
        scores = np.where(seen, np.where(logits < 0, logits * penalty, logits / penalty), logits)
        tokens.append(int(scores.argmax()))
        if tokens[-1] in eos:
            break
    return tokens[len(prompt) :]


def test_greedy_on_prompts_of_different_lengths():
    state = generate(PROMPTS, make_controls(4, temperature=0, max_new_tokens=12))
    for row, prompt in enumerate(PROMPTS):
        assert continuation(state, row) == greedy_by_hand(prompt, 12)


def test_repetition_penalty_sees_prompt_and_continuation():
    state = generate(PROMPTS, make_controls(4, temperature=0, repetition_penalty=[1.0, 3.0, 1.5, 0.8], max_new_tokens=10))
    for row, penalty in enumerate([1.0, 3.0, 1.5, 0.8]):
        assert continuation(state, row) == greedy_by_hand(PROMPTS[row], 10, penalty=penalty)


def test_each_row_ends_at_its_own_eos_or_length():
    free = [greedy_by_hand(p, 12) for p in PROMPTS]
    eos = free[0][4]
    controls = make_controls(4, temperature=0, max_new_tokens=[12, 5, 0, 12], eos=[eos])
    state = generate(PROMPTS, controls)
    expected = [greedy_by_hand(p, n, eos=[eos]) for p, n in zip(PROMPTS, [12, 5, 0, 12], strict=True)]
    assert [continuation(state, row) for row in range(4)] == expected
    assert bool(state.ended[0]) and not bool(state.ended[2]) and bool(state.finished.all())
    assert not np.asarray(state.output)[np.arange(CAPACITY) >= np.asarray(state.num_tokens)[:, None]].any()


def test_no_eos_before_the_minimal_length():
    eos = [greedy_by_hand(PROMPTS[0], 12)[3]]
    state = generate(PROMPTS[:1], make_controls(1, temperature=0, max_new_tokens=12, min_new_tokens=9, eos=eos))
    tokens = continuation(state, 0)
    assert eos[0] not in tokens[:9]


def test_the_loop_stops_when_every_row_has_finished():
    eos = [greedy_by_hand(PROMPTS[0], 12)[3]]
    state = generate(PROMPTS[:1], make_controls(1, temperature=0, max_new_tokens=CAPACITY, eos=eos))
    assert int(state.count) == len(continuation(state, 0)) < CAPACITY
    state = generate(PROMPTS, make_controls(4, max_new_tokens=[3, 2, 1, 0]))
    assert int(state.count) == 3


def test_log_probs_are_those_of_the_model_itself():
    controls = make_controls(4, temperature=0.3, top_k=4, repetition_penalty=1.5, max_new_tokens=6, log_probs=True)
    state = generate(PROMPTS, controls)
    for row, prompt in enumerate(PROMPTS):
        tokens = continuation(state, row)
        expected = [TOY.log_probs(prompt + tokens[:i])[t] for i, t in enumerate(tokens)]
        np.testing.assert_allclose(state.log_probs[row, :6], expected, atol=2e-5)
    assert not np.asarray(generate(PROMPTS, make_controls(4, max_new_tokens=6)).log_probs).any()


SAMPLING = {"temperature": 0.9, "top_k": 15, "top_p": 0.95, "repetition_penalty": 1.1}


@pytest.mark.parametrize("pieces", [[1] * CAPACITY, [5, 1, 20], [0, 3, 0, 30]])
def test_in_pieces_as_in_one(pieces):
    controls = make_controls(4, **SAMPLING, max_new_tokens=[CAPACITY, 7, 11, 2], eos=[3], log_probs=True)
    whole = generate(PROMPTS, controls)
    tokens, lengths = left_pad(PROMPTS, 8)
    state = begin(tokens, lengths, controls, search.row_keys(jax.random.key(0), streams(4)))
    for piece in pieces:
        state = go_on(state, controls, piece)
    for name in ("output", "log_probs", "num_tokens", "ended", "finished"):
        np.testing.assert_array_equal(getattr(state, name), getattr(whole, name), err_msg=name)


def test_a_row_draws_the_same_alone_in_a_batch_and_in_another_bucket():
    controls = lambda n: make_controls(n, **SAMPLING, max_new_tokens=12)  # noqa: E731
    together = generate(PROMPTS, controls(4))
    for row, prompt in enumerate(PROMPTS):
        alone = generate([prompt], controls(1), ids=streams(1, first=row), length=6)
        assert continuation(alone, 0) == continuation(together, row)
    moved = generate(PROMPTS[::-1], controls(4), ids=streams(4)[::-1])
    np.testing.assert_array_equal(moved.output[::-1], together.output)


def test_several_samples_of_a_prompt_are_those_of_the_prompt_repeated():
    ids = jnp.array([[p, s] for p in range(2) for s in range(3)])
    controls = make_controls(6, **SAMPLING, max_new_tokens=10)
    once = generate(PROMPTS[:2], controls, ids=ids)
    repeated = generate([p for p in PROMPTS[:2] for _ in range(3)], controls, ids=ids)
    np.testing.assert_array_equal(once.output, repeated.output)
    assert len({tuple(row) for row in np.asarray(once.output[:3]).tolist()}) == 3


def test_samples_follow_the_distribution():
    """First and second token of 6,000 samples, chi-square against the toy's own probabilities."""
    count, prompt, temperature = 6000, PROMPTS[0], 1.5
    ids = jnp.stack([jnp.zeros((count,), int), jnp.arange(count)], axis=1)
    state = generate([prompt], make_controls(count, temperature=temperature, max_new_tokens=2), ids=ids)
    first, second = np.asarray(state.output[:, 0]), np.asarray(state.output[:, 1])

    def p_value(drawn, context):
        p = np.exp(TOY.log_probs(context).astype(np.float64) / temperature)
        expected = p / p.sum() * len(drawn)
        rare = expected < 5
        observed = np.bincount(drawn, minlength=VOCAB)
        pair = [np.append(x[~rare], x[rare].sum()) for x in (observed, expected)]
        return stats.chisquare(*(x[pair[1] > 0] for x in pair)).pvalue

    assert p_value(first, prompt) > 0.01
    common = int(np.bincount(first).argmax())
    assert p_value(second[first == common], prompt + [common]) > 0.01


def test_no_knob_and_no_prompt_within_the_bucket_compiles_again():
    begin.clear_cache(), go_on.clear_cache()
    knobs = {"top_k": 3, "top_p": 0.5, "min_p": 0.1, "repetition_penalty": 2, "log_probs": True}
    generate(PROMPTS, make_controls(4, max_new_tokens=12))
    generate(PROMPTS, make_controls(4, **knobs, temperature=0, max_new_tokens=[1, 2, 3, 4]))
    other = [[1], [2, 3, 4], [5] * 8, [0]]
    generate(other, make_controls(4, **knobs, temperature=[0, 1, 2, 3], min_new_tokens=5, max_new_tokens=9, eos=[4]))
    assert (begin._cache_size(), go_on._cache_size()) == (1, 1)


def test_sharded_over_a_mesh_as_on_one_device(cpu_devices):
    from genjax.parallel.mesh import MeshConfig, make_mesh
    from genjax.parallel.rules import context

    controls = make_controls(4, **SAMPLING, max_new_tokens=12, log_probs=True)
    alone = generate(PROMPTS, controls)
    begin.clear_cache(), go_on.clear_cache()
    with context(make_mesh(MeshConfig(data=4, tensor=2), cpu_devices)):
        spread = generate(PROMPTS, controls)
    begin.clear_cache(), go_on.clear_cache()
    np.testing.assert_array_equal(spread.output, alone.output)
    np.testing.assert_allclose(spread.log_probs, alone.log_probs, atol=1e-5)
