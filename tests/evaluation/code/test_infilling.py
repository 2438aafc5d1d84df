"""Measures of filled-in passages against a table of edit distances filled in by the definition."""

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genjax.errors import RequestError
from genjax.evaluation.code.infilling import edit_similarity, exact_match

words = st.text(st.sampled_from("ab =("), max_size=9)


def levenshtein(one: str, other: str) -> int:
    if not one or not other:
        return len(one) + len(other)
    replaced = levenshtein(one[1:], other[1:]) + (one[0] != other[0])
    return replaced if one[0] == other[0] else min(replaced, levenshtein(one[1:], other) + 1, levenshtein(one, other[1:]) + 1)


@given(st.text("ab=", max_size=5), st.text("ab=", max_size=5))
def test_edit_similarity_is_one_less_the_distance_for_each_character(one, other):
    longest = max(len(one), len(other))
    assert edit_similarity(one, other) == pytest.approx(1 - levenshtein(one, other) / longest if longest else 1)


@given(words, words)
def test_white_space_around_a_passage_does_not_count(one, other):
    assert edit_similarity(f"  {one}\n", other) == edit_similarity(one, f"\t{other}")
    assert exact_match(f"  {one}\n", one)
    assert exact_match(one, other) == (edit_similarity(one, other) == 1)


def test_white_space_within_a_passage_counts():
    assert not exact_match("x = 1", "x =  1")
    assert edit_similarity("x = 1", "x =  1") == pytest.approx(5 / 6)


def test_without_the_library_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "rapidfuzz.distance", None)
    with pytest.raises(RequestError, match=r"pip install 'genjax\[code\]'"):
        edit_similarity("a", "b")
