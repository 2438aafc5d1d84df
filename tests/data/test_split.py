"""What is held out depends on the documents' content alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genjax.data.sources.document import Document
from genjax.data.split import split
from genjax.errors import DataError


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


def grouped(groups):
    return Listed(Document(str(i), f"document {i}", group=group) for i, group in enumerate(groups))


@settings(max_examples=60, deadline=None)
@given(groups=st.lists(st.sampled_from(["", "a", "b", "c", "d"]), min_size=2, max_size=40), fraction=st.floats(0.05, 0.95))
def test_documents_of_one_group_stay_together(groups, fraction):
    documents = grouped(groups)
    if len(set(groups) - {""}) + groups.count("") < 2:
        with pytest.raises(
            DataError, match=f"all {len(groups)} documents of a list belong together .*; set data.evaluation_frac"
        ):
            split(documents, fraction)
        return
    parts = split(documents, fraction)
    sides = {group: {bool(h) for g, h in zip(groups, parts.held_out, strict=True) if g == group} for group in groups if group}
    assert all(len(side) == 1 for side in sides.values())
    assert parts.held_out.any() and not parts.held_out.all()


def test_a_group_decides_and_not_the_texts_in_it():
    groups = [f"group {i % 200}" for i in range(1000)]
    first = split(grouped(groups), 0.2).held_out
    assert np.array_equal(first, split(Listed(Document("", f"other {i}", group=g) for i, g in enumerate(groups)), 0.2).held_out)
    assert 0.1 < first.mean() < 0.3


def test_sides_are_given_with_their_documents():
    documents = grouped(["", "a", "a", "b", ""])
    parts = split(documents, 0.5)
    sides = list(parts.sides(documents))
    assert [document for _, document in sides] == list(documents)
    assert [side == "evaluation" for side, _ in sides] == parts.held_out.tolist()
    cut = split(source(["0123456789"]), 0.3)
    assert [(side, d.text, d.name) for side, d in cut.sides(source(["0123456789"]))] == [
        ("train", "0123456", "0"),
        ("evaluation", "789", "0"),
    ]
