"""Measures of written texts against their definitions and against other people's implementations."""

import numpy as np
import pytest
import sacrebleu
from hypothesis import given
from hypothesis import strategies as st
from rapidfuzz.distance import Levenshtein

from genjax.evaluation.rouge import rouge_scores
from genjax.evaluation.translation import translation_scores
from genjax.evaluation.word_error import character_error_rate, edit_distance, word_error_rate

WRITTEN = ["the cat sat on the mat .", "Ein Hund läuft.", ""]
EXPECTED = ["the cat is sitting on the mat .", "Ein Hund läuft schnell.", "etwas"]


@given(st.text("abc", max_size=12), st.text("abcd", max_size=12))
def test_the_distance_is_levenshteins(first, second):
    assert edit_distance(first, second) == Levenshtein.distance(first, second)


def test_error_rates_are_edits_over_the_references():
    assert word_error_rate(["a b c", "x  y"], ["a c c d", "x y"]) == pytest.approx(2 / 6)
    assert character_error_rate([" ab  c "], ["ab d"]) == pytest.approx(1 / 4)
    assert word_error_rate(["a b c"], ["a"]) == 2.0
    assert (word_error_rate([""], [""]), word_error_rate(["a"], [""])) == (0.0, 1.0)


def test_bleu_and_chrf_are_sacrebleus_and_say_how_they_were_counted():
    values = translation_scores(WRITTEN, EXPECTED)
    assert values["bleu"] == sacrebleu.corpus_bleu(WRITTEN, [EXPECTED]).score
    assert values["chrf"] == sacrebleu.corpus_chrf(WRITTEN, [EXPECTED]).score
    assert "case:mixed" in values["bleu_signature"] and "tok:13a" in values["bleu_signature"]
    assert translation_scores(EXPECTED, EXPECTED)["bleu"] == pytest.approx(100)


def test_rouge_counts_common_words_pairs_and_subsequences():
    values = rouge_scores(["the cats sat on a mat"], ["a cat sat on the mat"])
    # All six words are common by their stems; of five pairs "cat sat", "sat on"; the longest subsequence is "cat sat on mat".
    assert values["rouge1"] == pytest.approx(100)
    assert values["rouge2"] == pytest.approx(40)
    assert values["rougeLsum"] == pytest.approx(100 * 4 / 6)
    both = rouge_scores(["a b", "c"], ["a b", "d"])
    assert np.isclose(both["rouge1"], 50)
