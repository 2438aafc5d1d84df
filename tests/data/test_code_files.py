"""Code is found by the names of files, in folders and archives alike, with what its surroundings say of it."""

import re
import tarfile
import zipfile

import pytest

from genjax.data.sources.code_files import CodeFiles
from genjax.data.sources.document import Document
from genjax.data.sources.files import LARGEST
from genjax.errors import DataError

MIT = "Permission is hereby granted, free of charge ... The above copyright notice and this permission notice shall be included."
APACHE = "Apache License\n   Version 2.0, January 2004"
FILES = {
    "LICENSE": MIT,
    "tool.sh": "echo tool\n",
    "notes.txt": "no code",
    "red/setup.py": "setup()\n",
    "red/src/a.rs": "fn a() {}\n",
    "red/src/vendored/COPYING": APACHE,
    "red/src/vendored/b.c": "int b;\n",
    "red/src/vendored/own.c": "// SPDX-License-Identifier: Zlib\nint own;\n",
    "blue/LICENSE-MIT": MIT,
    "blue/LICENSE-APACHE.md": APACHE,
    "blue/c.go": "package c\n",
    "blue/empty.go": "",
    "green/LICENSE": "All rights reserved.",
    "green/d.js": "d()\n",
    ".git/e.py": "hidden\n",
}
EXPECTED = [  # LICENSE-APACHE.md is Markdown, too
    Document("blue/LICENSE-APACHE.md", APACHE, "markdown", "Apache-2.0 AND MIT", "blue"),
    Document("blue/c.go", "package c\n", "go", "Apache-2.0 AND MIT", "blue"),
    Document("green/d.js", "d()\n", "javascript", "MIT", "green"),  # the nearest licence that is known
    Document("red/setup.py", "setup()\n", "python", "MIT", "red"),
    Document("red/src/a.rs", "fn a() {}\n", "rust", "MIT", "red"),
    Document("red/src/vendored/b.c", "int b;\n", "c", "Apache-2.0", "red"),
    Document("red/src/vendored/own.c", "// SPDX-License-Identifier: Zlib\nint own;\n", "c", "Zlib", "red"),
    Document("tool.sh", "echo tool\n", "shell", "MIT", "code"),
]


@pytest.fixture
def folder(tmp_path):
    for name, content in FILES.items():
        file = tmp_path / "code" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    return tmp_path / "code"


def test_a_folder(folder):
    assert list(CodeFiles(str(folder))) == EXPECTED


@pytest.mark.parametrize("ending", ["zip", "tar", "tar.gz"])
def test_an_archive_reads_as_the_folder_does(tmp_path, ending):
    path = tmp_path / f"code.{ending}"
    if ending == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name in sorted(FILES):
                archive.writestr(name, FILES[name])
    else:
        for name in FILES:
            file = tmp_path / "unpacked" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(FILES[name])
        with tarfile.open(path, "w:gz" if ending == "tar.gz" else "w") as archive:
            for name in sorted(FILES):
                archive.add(tmp_path / "unpacked" / name, name)
    assert list(CodeFiles(str(path))) == EXPECTED


def test_archives_in_a_folder_are_read_too(tmp_path):
    for name in ("one", "two"):
        (tmp_path / "deep").mkdir(exist_ok=True)
        with zipfile.ZipFile(tmp_path / "deep" / f"{name}-1.0.zip", "w") as archive:
            archive.writestr(f"{name}-main/a.py", f"{name} = 1\n")
            archive.writestr("top.py", "top = 1\n")
    (tmp_path / "deep" / "z.py").write_text("z = 1\n")
    found = [(d.name, d.repository) for d in CodeFiles(str(tmp_path))]
    assert found == [
        ("deep/one-1.0.zip/one-main/a.py", "one-main"),
        ("deep/one-1.0.zip/top.py", "one-1.0"),
        ("deep/two-1.0.zip/two-main/a.py", "two-main"),
        ("deep/two-1.0.zip/top.py", "two-1.0"),
        ("deep/z.py", "deep"),
    ]


def test_the_depth_of_repositories(folder):
    def repositories(depth):
        return [d.repository for d in CodeFiles(str(folder), repository_depth=depth)]

    assert repositories(0) == ["code"] * 8
    assert repositories(2) == ["blue", "blue", "green", "red", "red/src", "red/src", "red/src", "code"]


def test_a_glob_and_a_file(folder, monkeypatch):
    assert [d.name for d in CodeFiles(str(folder / "red" / "**" / "*.c"))] == ["src/vendored/b.c", "src/vendored/own.c"]
    single = list(CodeFiles(str(folder / "red" / "setup.py")))
    assert single == [Document("setup.py", "setup()\n", "python", "", "red")]  # nothing above its folder is looked at
    monkeypatch.chdir(folder)
    assert list(CodeFiles(".")) == EXPECTED
    assert [d.name for d in CodeFiles("*/*.go")] == ["blue/c.go"]


def test_encodings_and_line_ends(tmp_path):
    (tmp_path / "a.py").write_bytes(b"# -*- coding: latin-1 -*-\r\nx = '\xe9'\r\n")
    (tmp_path / "b.py").write_bytes(b"\xef\xbb\xbfx = 1\ry = 2\r")
    (tmp_path / "c.c").write_bytes(b"/* \xe9 */\r\n")
    (tmp_path / "d.py").write_bytes(b"# coding: rot13\nx = 1\n")  # a codec that gives no text
    texts = {d.name: d.text for d in CodeFiles(str(tmp_path))}
    assert texts["a.py"] == "# -*- coding: latin-1 -*-\nx = 'é'\n"
    assert texts["b.py"] == "x = 1\ny = 2\n"
    assert texts["c.c"] == "/* \udce9 */\n"
    assert texts["d.py"] == "# coding: rot13\nx = 1\n"
    assert {d.name: d.text for d in CodeFiles(str(tmp_path), encoding_errors="replace")}["c.c"] == "/* \ufffd */\n"
    with pytest.raises(DataError, match="c.c is not UTF-8 text: byte 0xe9 at offset 3"):
        list(CodeFiles(str(tmp_path), encoding_errors="raise"))


def test_of_an_endless_file_no_more_is_read_than_tells_that_it_is_too_large(tmp_path):
    with open(tmp_path / "a.py", "wb") as file:
        file.truncate(1 << 40)  # sparse
    (document,) = CodeFiles(str(tmp_path / "a.py"))
    assert len(document.text) == LARGEST + 1


def test_the_fingerprint_follows_what_is_read(folder):
    first = CodeFiles(str(folder)).fingerprint
    moved = folder.rename(folder.with_name("moved"))
    (moved / "notes.txt").write_text("other prose")
    assert CodeFiles(str(moved)).fingerprint == first
    fingerprints = {first, CodeFiles(str(moved), repository_depth=2).fingerprint}
    (moved / "blue" / "LICENSE-MIT").unlink()
    fingerprints.add(CodeFiles(str(moved)).fingerprint)
    (moved / "tool.sh").rename(moved / "tool.py")
    fingerprints.add(CodeFiles(str(moved)).fingerprint)
    (moved / "tool.py").write_text("echo Tool\n")
    fingerprints.add(CodeFiles(str(moved)).fingerprint)
    assert len(fingerprints) == 5


def test_a_folder_without_code(tmp_path):
    (tmp_path / "a.txt").write_text("prose")
    (tmp_path / "b.py").write_text("")
    (tmp_path / "LICENCE").write_text("prose")
    message = "holds no code: none of its 3 files (.py, .txt, LICENCE) or their members is a source file with something in it"
    with pytest.raises(DataError, match=re.escape(message)):
        list(CodeFiles(str(tmp_path)))
    with pytest.raises(DataError, match="c.py does not exist; did you mean .*/b.py?"):
        list(CodeFiles(str(tmp_path / "c.py")))
