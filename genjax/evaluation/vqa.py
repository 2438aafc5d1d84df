"""Answers to visual questions: whether they match.

Answers are compared as the VQA challenge does it (Antol et al., 2015; the rules of its evaluation script): in lower case, without
articles and punctuation, numbers as digits.
"""

import re
from collections.abc import Sequence

ARTICLES = frozenset(("a", "an", "the"))
NUMBERS = {
    word: str(number)
    for number, word in enumerate(("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"))
} | {"none": "0"}


def normalize_answer(text: str) -> str:
    """The answer as it is compared: "The  Red." is "red", "two" is "2"."""
    text = re.sub(r"(?<=\d),(?=\d)", "", text.lower())  # 1,000
    text = re.sub(r"(?<!\d)\.|\.(?!\d)", "", text)  # not the point of 1.5
    text = re.sub(r"[^\w\s.']|_", " ", text)
    words = [NUMBERS.get(word, word) for word in text.split()]
    return " ".join(word for word in words if word not in ARTICLES)


def exact_match(predictions: Sequence[str], answers: Sequence[str]) -> float:
    """The share of predictions that are their answers, both normalized.

    Raises:
        ValueError: not as many predictions as answers, or none.
    """
    if not answers or len(predictions) != len(answers):
        raise ValueError(f"{len(predictions)} predictions for {len(answers)} answers")
    pairs = zip(predictions, answers, strict=True)
    return sum(normalize_answer(prediction) == normalize_answer(answer) for prediction, answer in pairs) / len(answers)
