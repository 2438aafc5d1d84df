"""Processors against transformers' and against their definitions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from transformers.generation import logits_process as reference

from genjax.decoding import processors
from genjax.decoding.processors import make_controls

ROWS, VOCAB = 4, 777


@pytest.fixture
def logits():
    return np.random.default_rng(0).normal(size=(ROWS, VOCAB)).astype(np.float32) * 3


def expect(processor, logits, tokens=None):
    tokens = torch.zeros((ROWS, 1), dtype=torch.long) if tokens is None else torch.tensor(np.asarray(tokens)).long()
    return processor(tokens, torch.tensor(np.asarray(logits))).numpy()


def each_row(values, make, logits):
    """The reference with a value of its own for each row; None leaves the row alone."""
    one = lambda v, row: row if v is None else make(v)(torch.zeros((1, 1)), torch.tensor(row)).numpy()  # noqa: E731
    return np.concatenate([one(v, logits[i : i + 1]) for i, v in enumerate(values)])


def test_top_k(logits):
    found = processors.keep_top_k(jnp.asarray(logits), jnp.array([0, 1, 50, 5000]))
    np.testing.assert_array_equal(found, each_row([None, 1, 50, 5000], reference.TopKLogitsWarper, logits))


def test_top_k_keeps_those_equal_to_the_last():
    found = processors.keep_top_k(jnp.array([[3.0, 1.0, 2.0, 2.0, 2.0]]), jnp.array([2]))
    np.testing.assert_array_equal(np.isfinite(found), [[True, False, True, True, True]])


def test_top_p(logits):
    found = processors.keep_top_p(jnp.asarray(logits), jnp.array([1.0, 0.0, 0.5, 0.95]))
    np.testing.assert_array_equal(found, each_row([None, 0.0, 0.5, 0.95], reference.TopPLogitsWarper, logits))


def test_min_p(logits):
    found = processors.keep_min_p(jnp.asarray(logits), jnp.array([0.0, 0.05, 0.3, 1.0]))
    np.testing.assert_array_equal(found, each_row([None, 0.05, 0.3, 1.0], reference.MinPLogitsWarper, logits))


def test_repetition_penalty_counts_valid_tokens_once(logits):
    tokens = np.random.default_rng(1).integers(0, VOCAB, (ROWS, 30))
    tokens[:, 5] = tokens[:, 6] = 17
    penalty = np.array([1.0, 1.3, 0.7, 5.0], np.float32)
    padding = np.array([0, 0, 4, 10])
    valid = np.arange(30) >= padding[:, None]
    found = processors.penalize_repetition(jnp.asarray(logits), jnp.asarray(penalty), jnp.asarray(tokens), jnp.asarray(valid))
    for row in range(ROWS):
        warper = reference.RepetitionPenaltyLogitsProcessor(float(penalty[row]))
        expected = warper(torch.tensor(tokens[row : row + 1, padding[row] :]), torch.tensor(logits[row : row + 1]))
        np.testing.assert_allclose(found[row], expected[0], rtol=1e-6)


def test_forbidden_tokens(logits):
    found = processors.forbid(jnp.asarray(logits), jnp.array([[3, -1], [-1, -1], [0, VOCAB - 1], [5, 6]]), jnp.arange(ROWS) < 3)
    expected = logits.copy()
    expected[0, 3] = expected[2, 0] = expected[2, VOCAB - 1] = -np.inf
    np.testing.assert_array_equal(found, expected)


def test_all_together_in_the_order_of_transformers(logits):
    """Each knob's place matters here: with any two exchanged, other tokens are left."""
    tokens = np.random.default_rng(2).integers(0, VOCAB, (ROWS, 40))
    controls = make_controls(
        ROWS,
        temperature=0.7,
        top_k=40,
        top_p=0.8,
        min_p=0.08,
        repetition_penalty=1.4,
        min_new_tokens=3,
        max_new_tokens=9,
        eos=[7, 9],
    )
    valid = jnp.ones(tokens.shape, bool)
    scores = processors.constrain_scores(jnp.asarray(logits), controls, jnp.asarray(tokens), valid, jnp.full((ROWS,), 2))
    found = processors.warp(scores, controls)
    expected = logits
    for processor in (
        reference.RepetitionPenaltyLogitsProcessor(1.4),
        reference.MinNewTokensLengthLogitsProcessor(38, 3, [7, 9], device="cpu"),
        reference.TemperatureLogitsWarper(0.7),
        reference.TopKLogitsWarper(40),
        reference.TopPLogitsWarper(0.8),
        reference.MinPLogitsWarper(0.08),
    ):
        expected = expect(processor, expected, tokens)
    np.testing.assert_array_equal(np.isfinite(found), np.isfinite(expected))
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_rows_without_knobs_are_untouched_beside_rows_with_all(logits):
    controls = make_controls(
        ROWS,
        temperature=[1, 0.5, 1, 1],
        top_k=[0, 3, 0, 0],
        top_p=[1, 0.5, 1, 1],
        min_p=[0, 0.5, 0, 0],
        repetition_penalty=[1, 2, 1, 1],
        min_new_tokens=[0, 9, 0, 0],
        max_new_tokens=9,
        eos=[1],
    )
    tokens, valid = jnp.arange(ROWS * 5).reshape(ROWS, 5), jnp.ones((ROWS, 5), bool)
    scores = processors.constrain_scores(jnp.asarray(logits), controls, tokens, valid, jnp.zeros((ROWS,), int))
    found = processors.warp(scores, controls)
    np.testing.assert_array_equal(found[jnp.array([0, 2, 3])], logits[[0, 2, 3]])
    assert np.isfinite(found[1]).sum() < 4


def choose(logits, controls):
    keys = jax.random.split(jax.random.key(0), ROWS)
    seen = jnp.arange(ROWS * 5).reshape(ROWS, 5), jnp.ones((ROWS, 5), bool), jnp.zeros((ROWS,), int)
    return processors.choose(jnp.asarray(logits), controls, keys, *seen)


def test_the_dear_knobs_of_one_row_leave_what_the_others_draw(logits):
    """Whichever branch a batch takes, a row's token and log-probability are the same."""
    plain = {"temperature": [1, 0, 0.7, 1], "min_p": [0.05, 0, 0, 0], "max_new_tokens": 9, "log_probs": [True, False, True, True]}
    chosen, log_probs = choose(logits, make_controls(ROWS, **plain))
    dear = {"top_k": [0, 0, 0, 3], "top_p": [1, 1, 1, 0.9], "repetition_penalty": [1, 1, 1, 2], "min_new_tokens": [0, 0, 0, 2]}
    beside, log_probs_beside = choose(logits, make_controls(ROWS, **plain, **dear, eos=[0]))
    np.testing.assert_array_equal(chosen[:3], beside[:3])
    np.testing.assert_allclose(log_probs[:3], log_probs_beside[:3], rtol=1e-6)
    assert log_probs[1] == 0 and log_probs[0] < 0
    greedy, _ = choose(logits, make_controls(ROWS, temperature=0, max_new_tokens=9))
    np.testing.assert_array_equal(greedy, logits.argmax(-1))
    assert greedy[1] == chosen[1]


def test_greedy_rows_take_the_likeliest_beside_sampling_rows(logits):
    controls = make_controls(ROWS, temperature=[0, 1, 0, 5], top_k=[0, 1, 1, 0], max_new_tokens=1)
    chosen, _ = choose(logits, controls)
    np.testing.assert_array_equal(chosen[:3], logits[:3].argmax(-1))


def test_costs_are_paid_only_where_a_row_asks():
    """Greedy batches take a maximum; plain sampling draws; only top-k and top-p search, only the penalty scatters the text."""
    controls = make_controls(ROWS, max_new_tokens=1)
    logits, keys, count = jnp.zeros((ROWS, VOCAB)), jax.random.split(jax.random.key(0), ROWS), jnp.zeros((ROWS,), int)
    seen = jnp.zeros((ROWS, 5), int), jnp.ones((ROWS, 5), bool)
    jaxpr = jax.make_jaxpr(processors.choose)(logits, controls, keys, *seen, count).jaxpr
    searching, drawing, scattering = {"sort", "top_k", "while", "scan"}, {"cumsum", "exp", "threefry2x32"}, {"scatter"}
    assert not unconditional(jaxpr) & (searching | drawing | scattering | {"reduce_max"})
    (switch,) = (equation for equation in jaxpr.eqns if equation.primitive.name == "cond")
    greedy, simple, everything = (unconditional(branch.jaxpr) for branch in switch.params["branches"])
    assert "reduce_max" in greedy and not greedy & (searching | drawing | scattering)
    assert drawing - {"threefry2x32"} <= simple and not simple & (searching | scattering)
    assert "cond" in everything and not everything & searching


def unconditional(jaxpr) -> set[str]:
    """Names of all primitives that are not inside a conditional."""
    names = set()
    for equation in jaxpr.eqns:
        names.add(equation.primitive.name)
        if equation.primitive.name != "cond":
            for value in equation.params.values():
                if hasattr(value, "jaxpr"):
                    names |= unconditional(value.jaxpr)
    return names
