"""What is held out depends on the documents' content alone."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from genjax.data.sources.document import Document
from genjax.data.split import split


class Listed(list):
    title = "a list"
    fingerprint = ""


def source(texts):
    return Listed(Document(str(i), text) for i, text in enumerate(texts))


@settings(max_examples=100, deadline=None)
@given(texts=st.lists(st.text(min_size=1), min_size=2, max_size=40, unique=True), fraction=st.floats(0.01, 0.99))
def test_both_sides_get_something_and_nothing_is_lost(texts, fraction):
    parts = split(source(texts), fraction)
    train, evaluation = list(parts.train(source(texts))), list(parts.evaluation(source(texts)))
    assert train and evaluation and sorted(train + evaluation) == sorted(texts)
    assert (parts.train_characters, parts.evaluation_characters) == (sum(map(len, train)), sum(map(len, evaluation)))


def test_the_choice_for_a_document_does_not_depend_on_the_others():
    texts = [f"document {i}" for i in range(2000)]
    parts = split(source(texts), 0.1)
    held_out = set(parts.evaluation(source(texts)))
    assert 140 < len(held_out) < 260  # 200 expected with a standard deviation of 13
    more = [f"new {i}" for i in range(500)] + texts[::-1]
    assert set(split(source(more), 0.1).evaluation(source(more))) & set(texts) == held_out
    assert held_out < set(split(source(texts), 0.2).evaluation(source(texts)))


def test_equal_documents_stay_together():
    texts = [f"document {i % 50}" for i in range(500)]
    parts = split(source(texts), 0.3)
    assert not set(parts.train(source(texts))) & set(parts.evaluation(source(texts)))


def test_a_single_document_is_cut_at_the_end():
    parts = split(source(["0123456789" * 7]), 0.1)
    assert list(parts.train(source(["0123456789" * 7]))) == [("0123456789" * 7)[:63]]
    assert list(parts.evaluation(source(["0123456789" * 7]))) == ["3456789"]
    assert (parts.train_characters, parts.evaluation_characters) == (63, 7)


def test_nothing_is_held_out_when_nothing_is_wanted():
    for texts in (["one"], ["one", "two", "three"]):
        parts = split(source(texts), 0.0)
        assert list(parts.train(source(texts))) == texts and not np.any(parts.held_out)
        assert parts.evaluation_characters == 0 and list(parts.evaluation(source(texts))) in ([], [""])
