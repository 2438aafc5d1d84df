"""Near duplicates are those whose sets of words in a row resemble each other; the sets are made again here, naively."""

import random
import re
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from genjax.data.code import duplicates
from genjax.data.code.config import DuplicatesConfig
from genjax.data.code.duplicates import Clusters, NearDuplicates, bands, exact_key, shingles
from genjax.data.sources.stdlib import StandardLibrary
from genjax.errors import ConfigError


def naive(text, length=5):
    words = re.findall(r"\w+", text)
    length = min(length, len(words))
    return {tuple(words[i : i + length]) for i in range(len(words) - length + 1)} if words else set()


def jaccard(a, b):
    return len(a & b) / len(a | b)


def edited(words, changes, generator):
    """The words with some of them replaced."""
    words = list(words)
    for place in generator.sample(range(len(words)), changes):
        words[place] = f"new{generator.random()}"
    return " ".join(words)


@pytest.fixture(scope="module")
def library():
    return [d.text for d in StandardLibrary() if len(d.text) > 2000][:120]


def test_shingles_are_sets_of_words_in_a_row(library):
    for first, second in zip(library[:40], library[1:41], strict=True):
        mixed = first[: len(first) // 2] + second[len(second) // 2 :]
        a, b = shingles(first, 5), shingles(mixed, 5)
        assert len(a) == len(naive(first)) and np.all(np.diff(a.astype(np.int64)) > 0) and a.max() < 2**32
        assert len(np.intersect1d(a, b)) / len(np.union1d(a, b)) == pytest.approx(jaccard(naive(first), naive(mixed)), abs=1e-3)


def test_shingles_see_words_and_their_order_alone():
    same = shingles("def f(x):\n    return x + 1", 3)
    assert np.array_equal(same, shingles("def f ( x ) :\n\treturn x + 1\n\n", 3))
    assert not np.array_equal(same, shingles("def f(x):\n    return 1 + x", 3))
    assert len(shingles("one two", 5)) == 1 and len(shingles(" +-*/ ", 5)) == 0
    assert not np.array_equal(shingles("one two", 5), shingles("two one", 5))


@pytest.mark.parametrize("permutations", [64, 128, 256])
@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7, 0.85, 0.95])
def test_bands_find_a_pair_at_the_threshold(threshold, permutations):
    count, rows = bands(threshold, permutations)
    assert count * rows <= permutations
    generator = np.random.default_rng(0)
    equal = generator.random((20_000, count, rows)) < threshold  # each position of two signatures agrees so often
    assert equal.all(-1).any(-1).mean() >= 0.985


def test_documents_above_the_threshold_are_found_and_those_far_below_are_not(library):
    generator = random.Random(0)
    config = DuplicatesConfig(threshold=0.7)
    found, similar = [], []
    for text in library:
        words = re.findall(r"\w+", text)[:600]
        near = NearDuplicates(config)
        other = edited(words, int(len(words) * generator.uniform(0, 0.15)), generator)
        assert near.add(" ".join(words)).tolist() == []
        found.append(near.add(other).tolist() == [0])
        similar.append(jaccard(naive(" ".join(words)), naive(other)))
    found, similar = np.array(found), np.array(similar)
    assert found[similar > 0.82].all() and not found[similar < 0.58].any()
    assert (similar > 0.82).sum() > 10 and (similar < 0.58).sum() > 20
    assert 0.2 < found[abs(similar - 0.7) < 0.06].mean() < 0.8  # an estimate, near the threshold


def test_a_library_has_the_near_duplicates_that_all_pairs_show():
    texts = [d.text for d in StandardLibrary() if d.name.startswith(("encodings/", "json/"))]
    near, clusters = NearDuplicates(DuplicatesConfig(threshold=0.7)), Clusters()
    pairs = set()
    for number, text in enumerate(texts):
        clusters.add()
        for other in near.add(text).tolist():
            assert other < number
            pairs.add((other, number))
            clusters.join(other, number)
    sets = [naive(text) for text in texts]
    exact = np.array([[jaccard(a, b) if a | b else 0 for a in sets] for b in sets])
    assert all(exact[pair] > 0.55 for pair in pairs) and len(pairs) > 20
    assert all(clusters.root(i) == clusters.root(j) for i, j in np.argwhere(exact > 0.85))


def test_equal_documents_and_those_without_words():
    near = NearDuplicates(DuplicatesConfig())
    text = " ".join(f"word{i}" for i in range(100))
    assert [near.add(each).tolist() for each in (text, "+ - *", text, "- + *", f"({text})", "x")] == [[], [], [0], [], [0], []]


def test_many_documents_outgrow_the_first_table():
    near = NearDuplicates(DuplicatesConfig(permutations=16))
    for i in range(1030):
        near.add(" ".join(f"w{i}x{j}" for j in range(6)))
    assert near.add(" ".join(f"w3x{j}" for j in range(6))).tolist() == [3]
    assert near.add(" ".join(f"w1028x{j}" for j in range(6))).tolist() == [1028]


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 30).flatmap(lambda n: st.tuples(st.just(n), st.lists(st.tuples(*[st.integers(0, n - 1)] * 2), max_size=40)))
)
def test_clusters_are_connected_components_known_by_their_smallest(graph):
    size, edges = graph
    clusters = Clusters()
    assert [clusters.add() for _ in range(size)] == list(range(size)) and len(clusters) == size
    for a, b in edges:
        clusters.join(a, b)
    matrix = coo_matrix((np.ones(len(edges)), tuple(np.array(edges, int).reshape(-1, 2).T)), (size, size))
    _, labels = connected_components(matrix, directed=False)
    assert [clusters.root(i) for i in range(size)] == [int(np.argmax(labels == label)) for label in labels]


def test_exact_duplicates_may_differ_in_white_space_at_ends():
    key = exact_key("a = 1\n\nb = 2\n")
    assert {exact_key(text) for text in ("a = 1  \r\n\r\nb = 2", "\n\na = 1\n \nb = 2\n\n\n", "a = 1\n\nb = 2")} == {key}
    others = {exact_key(text) for text in ("a = 1\nb = 2\n", "a = 1\n\n b = 2\n", "a  = 1\n\nb = 2\n", "")}
    assert key not in others and len(others) == 4


def test_nothing_depends_on_the_process():
    text = "def f(x):\n    return [y for y in x if y]\n" * 3
    code = f"from genjax.data.code.duplicates import *\nprint(shingles({text!r}, 5).sum(), exact_key({text!r}).hex())"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={"PYTHONHASHSEED": "7", "PATH": ""})
    assert result.stdout.split() == [str(shingles(text, 5).sum()), exact_key(text).hex()], result.stderr


def test_without_the_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasketch", None)
    duplicates._datasketch.cache_clear()
    with pytest.raises(ConfigError, match=r"datasketch, which is not installed; run pip install 'genjax\[code\]', or set"):
        NearDuplicates(DuplicatesConfig())


@pytest.mark.parametrize("section", [{"threshold": 0.1}, {"threshold": 1.0}, {"shingle": 0}, {"permutations": 8}])
def test_settings_that_are_refused(section):
    with pytest.raises(ConfigError, match=f"data.duplicates.{next(iter(section))} is .*; it must be"):
        DuplicatesConfig(**section)
