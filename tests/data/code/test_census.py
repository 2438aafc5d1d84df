"""What is kept, what is not and why, and what stays together: decided once, in the order of the source."""

import random
import re

import pytest

from genjax.data.code.census import take_census
from genjax.data.code.config import DuplicatesConfig
from genjax.data.code.filters import CodeFilters
from genjax.data.sources.document import Document

FILTERS = CodeFilters(min_bytes=0, max_mean_line_length=1e9, max_line_length=10**9)


def words(name, count=200):
    return [f"{name}{i}" for i in range(count)]


def changed(base, places):
    return [f"changed{i}" if i in places else word for i, word in enumerate(base)]


def document(text, repository=""):
    return Document("x.py", text if isinstance(text, str) else " ".join(text), "python", "", repository)


A, B = words("a"), words("b")
A1 = changed(A, range(10))  # resembles A, by 0.93
A2 = changed(A1, range(190, 200))  # resembles A1 as much, and A less
FAR = DuplicatesConfig(threshold=0.85)


def census(documents, held_out=(), group_by_repository=False, **settings):
    return take_census(documents, held_out, FILTERS, DuplicatesConfig(**({"threshold": 0.85} | settings)), group_by_repository)


def test_the_first_of_a_chain_of_near_duplicates_is_kept():
    found = census([document(each) for each in (B, A, A2, A1)])
    assert found.groups == ["", "", None, None]
    assert found.left_out == {"near duplicates": 2} and found.kept == 2
    assert str(found) == "2 of 4 documents left out (2 near duplicates)"


def test_exact_duplicates_are_counted_apart():
    found = census([document(each) for each in (A, A, B, " ".join(A) + "  \n", A1)])
    assert found.groups == ["", None, "", None, None]
    assert found.left_out == {"exact duplicates": 2, "near duplicates": 1}
    kept = census([document(A), document(A)], exact=False, near="ignore")
    assert kept.groups == ["", ""] and str(kept) == "0 of 2 documents left out"


def test_what_is_filtered_hides_no_other():
    long = document(" ".join(A) + "\0")
    assert census([long, document(A)]).left_out == {"not text": 1}


def test_near_duplicates_that_are_kept_share_a_group():
    found = census([document(each) for each in (A, B, A2, A1)], near="keep_together")
    assert found.kept == 4 and found.groups[1] == ""
    assert found.groups[0] and found.groups[0] == found.groups[2] == found.groups[3]
    turned = census([document(each) for each in (A1, A2, B, A)], near="keep_together")
    assert turned.groups[0] == found.groups[0]  # the name does not depend on the order


@pytest.mark.parametrize("near", ["remove", "keep_together"])
def test_what_resembles_a_held_out_document_goes(near):
    found = census([document(each) for each in (A2, B, A1)], held_out=[document(A)], near=near)
    assert found.groups == [None, "", None]
    assert found.left_out == {"like held-out ones": 2}


def test_copies_of_held_out_documents_go_without_near_duplicates_too():
    found = census([document(A), document(A1)], held_out=[document(A)], near="ignore")
    assert found.groups == [None, ""] and found.left_out == {"like held-out ones": 1}


def test_repositories_stay_together():
    documents = [document(A, "one"), document(B, "two"), document(words("c"), "one"), document(words("d"))]
    found = census(documents, group_by_repository=True)
    assert found.groups == ["one", "two", "one", ""] and found.repositories == ["one", "two", "one", ""]
    assert census(documents).groups == ["", "", "", ""]


def test_repositories_that_share_a_file_stay_together_where_it_is_kept():
    documents = [document(A, "one"), document(B, "two"), document(A1, "two"), document(words("c"), "three")]
    apart = census(documents, group_by_repository=True)
    assert apart.groups == ["one", "two", None, "three"]
    joined = census(documents, group_by_repository=True, near="keep_together")
    assert joined.groups == ["one", "one", "one", "three"]


@pytest.mark.parametrize("near", ["remove", "keep_together"])
def test_no_two_groups_resemble_each_other(near):
    """Against all pairs, compared by their sets of five words in a row."""
    generator = random.Random(1)
    bases = [words(f"base{i}x", 120) for i in range(12)]
    texts = [changed(base, generator.sample(range(120), generator.randrange(12))) for base in bases for _ in range(6)]
    generator.shuffle(texts)
    found = census([document(text) for text in texts], near=near, threshold=0.7)
    sets = [{tuple(text[i : i + 5]) for i in range(len(text) - 4)} for text in texts]
    apart = 0
    for i, first in enumerate(found.groups):
        for j, second in enumerate(found.groups[:i]):
            if first is not None and second is not None and (first != second or first == ""):
                apart += 1
                assert len(sets[i] & sets[j]) / len(sets[i] | sets[j]) < 0.82
    assert apart > 50 and found.kept == 72 - found.left_out.total()
    assert bool(found.left_out) == (near == "remove")
    assert not re.search("near", str(found)) or near == "remove"
