"""Answers that are compared as the VQA challenge compares them."""

import pytest

from genjax.evaluation.vqa import exact_match, normalize_answer


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The  Red.", "red"),
        (" yes", "yes"),
        ("two dogs", "2 dogs"),
        ("None", "0"),
        ("1,000", "1000"),
        ("1.5 metres.", "1.5 metres"),
        ("a man's hat, blue/green", "man's hat blue green"),
    ],
)
def test_normalized(text, expected):
    assert normalize_answer(text) == expected


def test_the_share_of_matches():
    assert exact_match(["Yes.", "red", "an apple"], ["yes", "blue", "apple"]) == pytest.approx(2 / 3)
    for predictions, answers in (([], []), (["a"], ["a", "b"])):
        with pytest.raises(ValueError, match="predictions for"):
            exact_match(predictions, answers)
