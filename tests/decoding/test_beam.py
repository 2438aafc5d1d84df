"""Beam search on a toy network: against the enumeration of all sequences, and its invariances."""

import functools
import itertools

import jax
import numpy as np
import pytest

from genjax.decoding.beam import EARLY_STOPPING, BeamControls, beam_search
from genjax.decoding.processors import make_controls
from tests.decoding.toy_network import Toy, left_pad

EOS = 2
TOY = Toy(4, seed=3)
PROMPTS = [[1, 3, 0], [0], [3, 3, 1, 0, 1]]


@functools.partial(jax.jit, static_argnames=("beams", "capacity"))
def run(tokens, lengths, controls, beam, beams, capacity):
    cache = TOY.new_cache(tokens.shape[0], tokens.shape[1] + capacity)
    return beam_search(TOY.step, cache, tokens, lengths, controls, beam, beams, capacity)


def search(prompts, beams, *, length_penalty=1.0, early_stopping="never", max_new_tokens=4, capacity=4, pad=5, **knobs):
    rows = len(prompts)
    controls = make_controls(rows, max_new_tokens=max_new_tokens, **{"eos": [EOS]} | knobs)
    stop = np.full((rows,), EARLY_STOPPING[early_stopping], np.int32)
    beam = BeamControls(np.broadcast_to(np.float32(length_penalty), (rows,)), stop)
    return run(*left_pad(prompts, pad), controls, beam, beams, capacity)


def sequences(result, row, count=None):
    return [tuple(t[:n].tolist()) for t, n in zip(np.asarray(result.output[row]), result.num_tokens[row], strict=True)][:count]


def everything(prompt, length, penalty, eos=EOS):
    """All sequences that end with eos or are `length` long, as (score, tokens), best first."""
    found = []
    for size in range(1, length + 1):
        for tokens in itertools.product(range(TOY.vocab), repeat=size):
            if eos in tokens[:-1] or (size < length and tokens[-1] != eos):
                continue
            total = sum(TOY.log_probs(prompt + list(tokens[:i]))[t] for i, t in enumerate(tokens))
            found.append((total / size**penalty, tokens))
    return sorted(found, reverse=True)


@pytest.mark.parametrize("penalty", [0.0, 0.6, 1.0, 2.0, -1.0])
def test_with_enough_beams_it_finds_the_best_of_all_sequences(penalty):
    """64 beams hold all 27 unfinished sequences of three tokens, and more finished ones than are compared."""
    result = search(PROMPTS, 64, length_penalty=penalty)
    for row, prompt in enumerate(PROMPTS):
        best = everything(prompt, 4, penalty)[:20]
        assert sequences(result, row, 20) == [tokens for _, tokens in best]
        np.testing.assert_allclose(result.scores[row, :20], [score for score, _ in best], rtol=1e-5)


def test_one_beam_is_greedy():
    result = search(PROMPTS, 1, eos=())
    for row, prompt in enumerate(PROMPTS):
        tokens = list(prompt)
        for _ in range(4):
            tokens.append(int(TOY.log_probs(tokens).argmax()))
        assert sequences(result, row) == [tuple(tokens[len(prompt) :])]


@pytest.mark.parametrize("early_stopping", list(EARLY_STOPPING))
def test_a_prompt_is_searched_alone_as_in_a_batch(early_stopping):
    knobs = {"length_penalty": 0.6, "early_stopping": early_stopping, "capacity": 9}
    together = search(PROMPTS, 3, max_new_tokens=[9, 4, 0], **knobs)
    for row, length in enumerate([9, 4]):
        alone = search([PROMPTS[row]], 3, max_new_tokens=length, pad=8, **knobs)
        assert sequences(together, row) == sequences(alone, 0)
        np.testing.assert_allclose(together.scores[row], alone.scores[0], rtol=1e-5)
    assert not np.asarray(together.num_tokens[2]).any()


def test_eos_waits_for_the_minimal_length_and_is_marked():
    result = search(PROMPTS, 5, min_new_tokens=3, max_new_tokens=6, capacity=8)
    for row in range(3):
        for tokens, ended in zip(sequences(result, row), result.ended[row], strict=True):
            assert EOS not in tokens[:3] and bool(ended) == (tokens[-1] == EOS) and (ended or len(tokens) == 6)


def test_log_probs_of_the_tokens_add_up_to_the_score():
    result = search(PROMPTS, 4, length_penalty=0.0, max_new_tokens=6, capacity=8)
    np.testing.assert_allclose(result.log_probs.sum(-1), result.scores, atol=1e-5)
    for row, prompt in enumerate(PROMPTS):
        tokens = sequences(result, row)[0]
        expected = [TOY.log_probs(prompt + list(tokens[:i]))[t] for i, t in enumerate(tokens)]
        np.testing.assert_allclose(result.log_probs[row, 0, : len(tokens)], expected, atol=1e-5)


def test_the_longer_the_search_the_better_what_it_finds():
    prompts = [[a, b] for a in range(4) for b in range(4)]
    scores = [
        np.asarray(search(prompts, 2, early_stopping=how, length_penalty=2.0, max_new_tokens=9, capacity=9).scores)
        for how in ("full", "heuristic", "never")
    ]
    assert (scores[0] <= scores[1]).all() and (scores[1] <= scores[2]).all()
    assert (scores[0] < scores[1]).any() and (scores[1] < scores[2]).any()


def test_knobs_do_not_compile_again():
    run.clear_cache()
    search(PROMPTS, 2, capacity=6)
    search(PROMPTS, 2, capacity=6, length_penalty=2.0, early_stopping="full", max_new_tokens=[1, 2, 6], repetition_penalty=1.5)
    assert run._cache_size() == 1
