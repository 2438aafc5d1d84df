"""Sources give their documents in order, and say what is wrong with a file and what to do."""

import gzip
import json
import re
import sysconfig
from pathlib import Path

import numpy as np
import pytest

from genjax.data.sources.document import Document, Fields
from genjax.data.sources.jsonl import JsonLines
from genjax.data.sources.stdlib import StandardLibrary
from genjax.data.sources.text_files import TextFiles
from genjax.errors import DataError


def texts(source):
    return [document.text for document in source]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "two.txt").write_text("two\n")
    (tmp_path / "a.txt").write_text("one\r\nnaïve")
    (tmp_path / "c.txt.gz").write_bytes(gzip.compress(b"three"))
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / ".hidden").write_bytes(b"\xff")
    return tmp_path


def test_a_file_a_folder_and_a_glob(folder, monkeypatch):
    assert texts(TextFiles(str(folder / "a.txt"))) == ["one\r\nnaïve"]
    assert texts(TextFiles(str(folder))) == ["one\r\nnaïve", "two\n", "three"]
    assert texts(TextFiles(str(folder / "**" / "*.txt"))) == ["one\r\nnaïve", "two\n"]
    monkeypatch.setenv("CORPUS", str(folder))
    assert texts(TextFiles("$CORPUS/b")) == ["two\n"]
    monkeypatch.setenv("HOME", str(folder))
    assert texts(TextFiles("~/c.txt.gz")) == ["three"]


def test_documents_between_separators(tmp_path):
    (tmp_path / "t.txt").write_text("first\n--\nsecond\n--\n\n--\nthird")
    documents = list(TextFiles(str(tmp_path / "t.txt"), separator="\n--\n"))
    assert [d.text for d in documents] == ["first", "second", "third"]
    assert [d.name for d in documents] == [f"{tmp_path}/t.txt#{n}" for n in (0, 1, 3)]


def test_a_byte_order_mark_is_no_text(tmp_path):
    (tmp_path / "t.txt").write_bytes(b"\xef\xbb\xbfhello")
    assert texts(TextFiles(str(tmp_path / "t.txt"))) == ["hello"]


def test_the_fingerprint_follows_content_not_place(folder, tmp_path_factory):
    first = TextFiles(str(folder)).fingerprint
    moved = tmp_path_factory.mktemp("moved") / "corpus"
    folder.rename(moved)
    assert TextFiles(str(moved)).fingerprint == first
    assert TextFiles(str(moved), separator="\n").fingerprint != first
    (moved / "a.txt").write_text("One\r\nnaïve")
    assert TextFiles(str(moved)).fingerprint != first


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("", "data.path is empty; set it to a text file, a folder or a glob"),
        ("{}/c.txt", "c.txt does not exist; did you mean {}/a.txt?"),
        ("{}/zzzzzzzz", "zzzzzzzz does not exist; check data.path."),
        ("{}/no/where.txt", "where.txt does not exist; neither does its folder {}/no."),
        ("{}/*.md", "no file matches '{}/*.md'; check data.path."),
        ("{}/void", "the folder {}/void holds no files; put text files there, or set data.path to another."),
        ("{}/empty.txt", "the data file {}/empty.txt is empty; there is nothing to train on."),
        ("$NO_SUCH_VARIABLE/a.txt", "names an environment variable that is not set; set it, or give the path in full."),
        ("{}/latin.txt", "{}/latin.txt is not UTF-8 text: byte 0xe9 at offset 3. Convert the file (iconv -f latin1 -t utf-8)"),
        ("{}/cut.txt.gz", "the data file {}/cut.txt.gz cannot be read: Compressed file ended"),
        ("{}/not.txt.gz", "the data file {}/not.txt.gz cannot be read: Not a gzipped file"),
    ],
)
@pytest.mark.parametrize("kind", [TextFiles, JsonLines])
def test_files_that_cannot_be_used(kind, path, message, folder):
    (folder / "void").mkdir()
    (folder / "latin.txt").write_bytes("caf\u00e9\n".encode("latin1"))
    (folder / "cut.txt.gz").write_bytes(gzip.compress(b"hello world" * 100)[:-12])
    (folder / "not.txt.gz").write_bytes(b"hello world")
    if kind is JsonLines:
        message = message.replace("latin.txt is not", "latin.txt, line 1 is not")
        message = message.replace(
            "the data file {}/empty.txt is empty;", "{}/empty.txt holds no line with text in the field 'text';"
        )
    with pytest.raises(DataError, match=re.escape(message.format(*[folder] * 2))):
        list(kind(path.format(folder)))


def test_a_file_without_permission(folder, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    source = TextFiles(str(folder / "a.txt"))
    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(DataError, match="a.txt cannot be read: Permission denied"):
        list(source)
    with pytest.raises(DataError, match="a.txt cannot be read: Permission denied"):
        _ = source.fingerprint


def test_wrong_bytes_can_be_replaced(tmp_path):
    (tmp_path / "t.txt").write_bytes(b"caf\xe9!")
    assert texts(TextFiles(str(tmp_path / "t.txt"), encoding_errors="replace")) == ["caf\ufffd!"]
    (tmp_path / "t.jsonl").write_bytes(b'{"text": "caf\xe9!"}\n{"text": "half \\ud800"}\n')
    assert texts(JsonLines(str(tmp_path / "t.jsonl"), encoding_errors="replace")) == ["caf\ufffd!", "half \ufffd\ufffd\ufffd"]


@pytest.mark.parametrize("packed", [False, True])
def test_json_lines(tmp_path, packed):
    lines = ['{"text": "one\\n", "id": 1}', "", '{"text": ""}', '{"id": 3, "text": "na\\u00efve ï"}']
    content = "\n".join(lines).encode()
    path = tmp_path / ("t.jsonl.gz" if packed else "t.jsonl")
    path.write_bytes(gzip.compress(content) if packed else content)
    documents = list(JsonLines(str(path)))
    assert [(d.name, d.text) for d in documents] == [(f"{path}, line 1", "one\n"), (f"{path}, line 4", "naïve ï")]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"text": "b"', "line 2 is not JSON (Expecting ',' delimiter at character 13)"),
        ('{"text": ' + "[" * 100_000, "line 2 cannot be read as JSON (maximum recursion depth"),
        ('{"text": ' + "1" * 5000 + "}", "line 2 cannot be read as JSON (Exceeds the limit"),
        ('["b"]', "line 2 is not a JSON object but a list; every line must be like {'text': ...}"),
        ("3", "line 2 is not a JSON object but a number"),
        ('{"title": "b", "body": "c"}', "line 2 has no field 'text'; it has body, title. Set data.text_field"),
        ("{}", "line 2 has no field 'text'; it has no fields at all."),
        ('{"text": ["b"]}', "the field 'text' of {}, line 2 holds list, not text; set data.text_field to another."),
        ('{"text": "\\ud83d"}', "line 2 holds half a surrogate pair (\\ud83d), which is no character"),
        ("\udce9", "line 2 is not UTF-8 text: byte 0xe9 at offset 14."),
    ],
)
def test_wrong_json_lines(tmp_path, line, message):
    path = tmp_path / "t.jsonl"
    path.write_bytes(b'{"text": "a"}\n' + line.encode("utf-8", "surrogateescape") + b"\n")
    with pytest.raises(
        DataError, match=re.escape(message.replace("{}, line", f"{path}, line") if "of {}" in message else message)
    ):
        list(JsonLines(str(path)))


def test_another_field(tmp_path):
    path = tmp_path / "t.jsonl"
    path.write_text(json.dumps({"text": 1, "code": "x = 1"}))
    assert texts(JsonLines(str(path), text_field="code")) == ["x = 1"]


def test_fields_that_say_more(tmp_path):
    path = tmp_path / "t.jsonl"
    records = [
        {"text": "a", "lang": "C++", "licence": "MIT", "file": "src/a.cc", "repo": "x/y"},
        {"text": "b", "lang": None, "licence": ["MIT", "", "ISC"], "file": "", "repo": 3},
        {"text": "c"},
    ]
    path.write_text("\n".join(map(json.dumps, records)))
    fields = Fields(language="lang", licence="licence", path="file", repository="repo")
    assert list(JsonLines(str(path), fields=fields)) == [
        Document("src/a.cc", "a", "c++", "MIT", "x/y"),
        Document(f"{path}, line 2", "b", "", "MIT AND ISC"),
        Document(f"{path}, line 3", "c"),
    ]
    assert JsonLines(str(path), fields=fields).fingerprint != JsonLines(str(path)).fingerprint
    assert fields.document({"lang": b"Python", "licence": np.array([b"MIT", b"ISC"], object)}, "n", "t") == Document(
        "n", "t", "python", "MIT AND ISC"
    )  # as TFDS gives them


def test_what_is_no_text_can_be_left_to_a_filter(tmp_path):
    path = tmp_path / "t.jsonl"
    path.write_bytes(b'{"text": "caf\xe9!"}\n{"text": "half \\ud800"}\n')
    assert texts(JsonLines(str(path), encoding_errors="leave_out")) == ["caf\udce9!", "half \ud800"]


def test_the_standard_library_is_there_sorted_and_without_tests():
    source = StandardLibrary()
    documents = list(source)
    names = [d.name for d in documents]
    assert names == sorted(names) and len(names) > 300
    assert {"argparse.py", "json/decoder.py", "asyncio/tasks.py"} <= set(names)
    assert not any({"test", "tests", "site-packages"} & set(Path(name).parts) for name in names)
    decoder = Path(sysconfig.get_path("stdlib"), "json", "decoder.py")
    assert documents[names.index("json/decoder.py")].text == decoder.read_text()
    assert source.fingerprint == StandardLibrary().fingerprint
    assert {(d.language, d.licence, d.repository) for d in documents} == {("python", "PSF-2.0", "cpython")}


def test_a_python_without_its_library(tmp_path, monkeypatch):
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    (tmp_path / "site-packages").mkdir()
    (tmp_path / "site-packages" / "x.py").write_text("x = 1\n")
    with pytest.raises(DataError, match="this Python keeps no standard library source in .*; use data.source='files'"):
        list(StandardLibrary())
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "latin.py").write_bytes(b"# coding: latin1\nx = '\xe9'\n")
    (tmp_path / "tests" / "wrong.py").write_bytes(b"# coding: utf-8\nx = '\xe9'\n")
    assert texts(StandardLibrary(include_tests=True)) == ["# coding: latin1\nx = 'é'\n", "# coding: utf-8\nx = '\ufffd'\n"]
    assert texts(StandardLibrary(True, "leave_out"))[1] == "# coding: utf-8\nx = '\udce9'\n"
