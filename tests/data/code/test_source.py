"""Clean code as a source: order, tags, and a fingerprint that follows every setting."""

from dataclasses import replace

import pytest

from genjax.data.code.config import DuplicatesConfig
from genjax.data.code.filters import CodeFilters
from genjax.data.code.source import CleanCode
from genjax.data.sources.document import Document
from genjax.errors import DataError

REPOSITORIES = ["red", "blue", "red", "", "green", "blue", "red"]


class Listed:
    """A source that counts how often it is read."""

    title = "a list"

    def __init__(self, documents, fingerprint="f"):
        self.documents, self.fingerprint, self.passes = documents, fingerprint, 0

    def __iter__(self):
        self.passes += 1
        return iter(self.documents)


def code(number):
    return "".join(f"value_{number}_{line} = {line}\n" for line in range(20))


def listed(**fields):
    return Listed([Document(f"{r}/{i}.py", code(i), "", "MIT", r, **fields) for i, r in enumerate(REPOSITORIES)])


def test_the_source_s_order_and_the_decision_made_once():
    source = listed()
    clean = CleanCode(source)
    assert [d.text for d in clean] == [code(i) for i in range(7)] == [d.text for d in clean]
    assert source.passes == 3  # one to decide
    assert {d.language for d in clean} == {"python"} and {d.licence for d in clean} == {"MIT"}


def test_files_of_one_repository_follow_each_other():
    source = Listed([*listed().documents, Document("red/copy.py", code(4), "python", "", "red"), Document("blue/7.py", code(7))])
    clean = CleanCode(source, repository_order=True)
    names = [d.name for d in clean]
    assert names == ["red/0.py", "red/2.py", "red/6.py", "blue/1.py", "blue/5.py", "/3.py", "blue/7.py", "green/4.py"]
    assert names == [d.name for d in clean] and clean.census.left_out == {"exact duplicates": 1}
    found = {d.name: d for d in clean}
    assert found["green/4.py"] == Document("green/4.py", code(4), "python", "MIT", "green")


def test_a_waiting_document_keeps_every_character(tmp_path):
    text = code(1) + "# naïve \u2028 \U0001f600 \x00?\n"
    source = Listed([Document("a", code(0), repository="x"), Document("b", code(2), repository="y"), Document("c\udce9", text)])
    source.documents.append(Document("d", code(3), repository="x"))
    filters = CodeFilters(min_letters=0)
    kept = {d.name: d.text for d in CleanCode(source, filters, repository_order=True)}
    assert list(kept) == ["a", "d", "b"]  # text with a zero byte is no text
    source.documents[2] = replace(source.documents[2], text=text.replace("\0", ""))
    kept = {d.name: d.text for d in CleanCode(source, filters, repository_order=True)}
    assert kept["c\udce9"] == text.replace("\0", "")


def test_tags_name_the_language_and_are_no_part_of_the_document():
    documents = [Document("a.py", code(0)), Document("b.rs", code(1)), Document("c", code(2)), Document("d", code(3), "ocaml")]
    clean = CleanCode(Listed(documents), language_tag=True)
    first_lines = [d.text.split("\n")[0] for d in clean]
    assert first_lines == ["# language: python", "// language: rust", "value_2_0 = 0", "(* language: ocaml *)"]
    assert [d.text for d in clean.documents()] == [d.text for d in documents]
    assert all(tagged.text.endswith(d.text) for tagged, d in zip(clean, documents, strict=True))


def test_groups_for_the_split():
    clean = CleanCode(listed(), group_by_repository=True)
    assert [d.group for d in clean] == REPOSITORIES
    assert {d.group for d in CleanCode(listed())} == {""}


def test_held_out_documents_are_those_that_are_kept_there():
    short = Document("e.py", "x = 1\n")
    held_out = CleanCode(Listed([Document("e.py", code(1)), short]))
    clean = CleanCode(Listed([*listed().documents, short]), CodeFilters(min_bytes=0), held_out=held_out)
    assert [d.text for d in clean] == [code(i) for i in (0, 2, 3, 4, 5, 6)] + ["x = 1\n"]  # it was left out there
    assert clean.census.left_out == {"like held-out ones": 1}


def test_nothing_left_is_an_error_that_says_why():
    clean = CleanCode(listed(), CodeFilters(languages=("go",)))
    with pytest.raises(
        DataError, match=r"a list leaves nothing to train on: 7 of 7 .*\(7 of another language\). Loosen data.filt"
    ):
        list(clean)


def test_the_fingerprint_follows_every_setting():
    source = listed()
    others = [
        CleanCode(Listed(source.documents, "g")),
        CleanCode(source, CodeFilters(max_bytes=99_999)),
        CleanCode(source, CodeFilters(must_parse=True)),
        CleanCode(source, duplicates=DuplicatesConfig(threshold=0.8)),
        CleanCode(source, duplicates=DuplicatesConfig(near="ignore")),
        CleanCode(source, held_out=CleanCode(source)),
        CleanCode(source, held_out=CleanCode(Listed([], "h"))),
        CleanCode(source, group_by_repository=True),
        CleanCode(source, language_tag=True),
        CleanCode(source, repository_order=True),
    ]
    fingerprints = {clean.fingerprint for clean in (CleanCode(source), *others)}
    assert len(fingerprints) == 11 and CleanCode(listed()).fingerprint in fingerprints
    assert source.passes == 0
