"""The longest shared run against brute force, through files, on real modules, and in damaged folders."""

import inspect
import json
import textwrap
from dataclasses import dataclass
from heapq import __file__ as heapq_file
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genjax.errors import DataError
from genjax.evaluation.suffix_array import suffix_array
from genjax.evaluation.verbatim import FLAGGED_TOKENS, STARTS_AT_ONCE, VerbatimIndex

WORDS = ("a", "b", "c", "==", "(", "'")
LINES = st.lists(st.lists(st.sampled_from(WORDS), max_size=6), max_size=6)


@dataclass(frozen=True)
class Document:
    name: str
    text: str
    licence: str = ""


def build(*texts):
    return VerbatimIndex.build([Document(f"{i}.py", text, f"licence {i}") for i, text in enumerate(texts)])


def write(lines):
    return "\n".join(" ".join(line) for line in lines)


def shared_runs(document, query):
    """(length, place in the document, place in the query) of every common run, by trying them all."""
    for i in range(len(document)):
        for j in range(len(query)):
            length = 0
            while i + length < len(document) and j + length < len(query) and document[i + length] == query[j + length]:
                length += 1
            if length:
                yield length, i, j


@settings(max_examples=150, deadline=None)
@given(documents=st.lists(LINES, min_size=1, max_size=4), query=LINES)
def test_against_brute_force(documents, query):
    if not any(map(any, documents)):
        with pytest.raises(DataError, match="there are no documents to index"):
            build(*map(write, documents))
        return
    flat = [[word for line in lines for word in line] for lines in documents]
    asked = [word for line in query for word in line]
    runs = [(length, number, i, j) for number, words in enumerate(flat) for length, i, j in shared_runs(words, asked)]
    match = build(*map(write, documents)).longest(write(query))
    if not runs:
        assert match is None
        return
    longest = max(length for length, *_ in runs)
    first = min(j for length, _, _, j in runs if length == longest)
    same = [(number, i) for length, number, i, j in runs if length == longest and j == first]
    number, place = min(same)
    lines = [n for n, line in enumerate(documents[number], 1) for _ in line]
    assert match.num_tokens == longest and match.text.split() == asked[first : first + longest]
    assert (match.name, match.licence, match.line) == (f"{number}.py", f"licence {number}", lines[place])
    assert match.occurrences == len(same)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 3), max_size=60), st.integers(1, 20))
def test_a_suffix_array_is_the_sorted_suffixes(tokens, times):
    tokens = tokens * times
    assert suffix_array(np.array(tokens, np.int32)).tolist() == sorted(range(len(tokens)), key=lambda i: tokens[i:])


def test_layout_does_not_count_and_everything_else_does():
    index = build("def f(x, y):\n    return g(x ==  y)  # 'the same'\n")
    everything = 20  # def f ( x , y ) : return g ( x == y ) # ' the same '
    assert index.longest("def f(\n    x,y\n):\n\treturn g(x==y) #'the  same'").num_tokens == everything
    assert index.longest("def f(x, y):\r\n    return h(x == y)  # 'the same'").num_tokens == 10
    assert index.longest("def f(x, y): return g(x = y)").num_tokens == 12
    assert index.longest("Def F(X, Y)").num_tokens == 1


def test_a_run_does_not_reach_over_the_end_of_a_document():
    index = build("a b c", "d e f")
    match = index.longest("a b c d e f")
    assert (match.num_tokens, match.text) == (3, "a b c")
    assert index.longest("x y z") is None and index.longest("") is None and index.longest(" \n") is None


def test_a_long_text_is_searched_to_its_end():
    index = build("x " * 40 + "needle " + "y " * 30)
    text = "new " * (2 * STARTS_AT_ONCE) + "x needle " + "y " * 30 + "new " * 100
    assert index.longest(text).num_tokens == 32


@pytest.fixture(scope="module")
def modules():
    """A few files of the standard library."""
    folder = Path(heapq_file).parent
    names = ["heapq.py", "textwrap.py", "bisect.py", "shlex.py", "json/decoder.py", "json/encoder.py"]
    return [Document(name, (folder / name).read_text("utf-8"), "PSF-2.0") for name in names]


@pytest.fixture(scope="module")
def index(modules):
    return VerbatimIndex.build(modules)


def test_a_function_copied_from_the_corpus_is_found_with_its_file_and_line(index):
    source, line = inspect.getsourcelines(textwrap.TextWrapper._split)
    copied = textwrap.dedent("".join(source))
    match = index.longest(f"def mine():\n    return 7\n\n\n{copied}\n\nprint(mine())\n")
    assert (match.name, match.licence, match.line) == ("textwrap.py", "PSF-2.0", line)
    assert match.num_tokens >= FLAGGED_TOKENS and match.occurrences == 1
    assert copied.strip() in match.text


def test_fresh_code_is_not_flagged(index):
    fresh = '''
    class Basket:
        """Counts fruit by kind."""

        def __init__(self, kinds):
            self.counts = {kind: 0 for kind in kinds}

        def add(self, kind, number=1):
            if kind not in self.counts:
                raise KeyError(f"no {kind} here")
            self.counts[kind] += number
            return self.counts[kind]

        def __len__(self):
            return sum(self.counts.values())
    '''
    assert index.longest(fresh).num_tokens < FLAGGED_TOKENS


def test_through_files(index, modules, tmp_path):
    index.save(tmp_path / "run" / "verbatim")
    opened = VerbatimIndex.open(tmp_path / "run" / "verbatim")
    assert opened.fingerprint == index.fingerprint == VerbatimIndex.build(modules).fingerprint
    assert opened.fingerprint != VerbatimIndex.build(modules[1:]).fingerprint
    text = modules[3].text[500:2500]
    assert opened.longest(text) == index.longest(text)
    assert opened.longest(text).name == "shlex.py"
    with pytest.raises(DataError, match="exists; choose another folder"):
        index.save(tmp_path / "run" / "verbatim")
    build("a b").save(tmp_path / "run" / "verbatim", overwrite=True)
    assert VerbatimIndex.open(tmp_path / "run" / "verbatim").longest("b").name == "0.py"
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["verbatim"]


def flip(path):
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["tokens.npy", "order.npy", "lines.npy", "strings.json"])
@pytest.mark.parametrize("damage", [flip, lambda path: path.write_bytes(path.read_bytes()[:-3]), Path.unlink])
def test_a_damaged_index_is_a_sentence(tmp_path, name, damage):
    build("a b c\nd", "e f").save(tmp_path / "index")
    damage(tmp_path / "index" / name)
    with pytest.raises(DataError, match=f"is damaged .*{name}.*build it again"):
        VerbatimIndex.open(tmp_path / "index")


def test_what_is_no_index_is_a_sentence(tmp_path):
    with pytest.raises(DataError, match="there is no verbatim index in .*nowhere; build one with"):
        VerbatimIndex.open(tmp_path / "nowhere")
    build("a b").save(tmp_path / "index")
    meta = tmp_path / "index" / "meta.json"
    meta.write_text(json.dumps(json.loads(meta.read_text()) | {"format": 99}))
    with pytest.raises(DataError, match="has format 99, not 1; build it again"):
        VerbatimIndex.open(tmp_path / "index")
    for content in ("[]", "{", "{}", '{"format": 1}'):
        meta.write_text(content)
        with pytest.raises(DataError, match="is damaged"):
            VerbatimIndex.open(tmp_path / "index")
