"""Names of files give languages; tags are comments, which pygments' lexers confirm."""

import pytest
from pygments import lexers
from pygments.token import Comment

from genjax.data.code.languages import LANGUAGES, canonical, language_of, tag

# What pygments calls a language where it does not use GitHub's name.
ALIASES = {
    "assembly": "nasm",
    "batchfile": "bat",
    "dockerfile": "docker",
    "makefile": "make",
    "pascal": "delphi",
    "protocol buffer": "protobuf",
    "restructuredtext": "rst",
    "starlark": "python",
    "unix assembly": "gas",
    "vim script": "vim",
    "visual basic": "vbnet",
}
# Svelte has no lexer there; Markdown's and PHP's pass markup through as text, and it is HTML's comment.
MARKUP = {"markdown": "html", "php": "html", "svelte": "html"}
TAGGED = [name for name in LANGUAGES if tag(name)]


@pytest.mark.parametrize("language", TAGGED)
def test_a_tag_is_a_comment_in_its_language(language):
    lexer = lexers.get_lexer_by_name(MARKUP.get(language) or ALIASES.get(language) or language.replace(" ", "-"))
    line = tag(language)
    assert line.count("\n") == 1 and f"language: {language}" in line
    kinds = {kind for kind, text in lexer.get_tokens(line) if text.strip()}
    assert kinds and all(kind in Comment for kind in kinds), kinds


def test_formats_without_comments_and_unknown_languages_have_no_tag():
    assert (tag("json"), tag("klingon"), tag("")) == ("", "", "")
    assert tag("python") == "# language: python\n"


@pytest.mark.parametrize(
    ("path", "language"),
    [
        ("a/b/setup.py", "python"),
        ("x.pyi", "python"),
        ("src/main.CPP", "c++"),
        ("include/x.h", "c"),
        ("analysis.R", "r"),
        ("Dockerfile", "dockerfile"),
        ("deep/CMakeLists.txt", "cmake"),
        ("notes.txt", ""),
        ("Makefile.old", ""),
        (".py", ""),
        ("archive.py.gz", ""),
        ("data/lines.jsonl, line 3", ""),
    ],
)
def test_a_file_s_name_gives_its_language(path, language):
    assert language_of(path) == language


def test_no_ending_belongs_to_two_languages():
    endings = [ending for language in LANGUAGES.values() for ending in (language.suffixes + " " + language.names).split()]
    assert len(endings) == len(set(endings))


def test_corpora_s_names_of_languages():
    assert [canonical(name) for name in ("Python", "c-sharp", "C++", "Protocol Buffer", "emacs_lisp", "golang", "Brainfuck")] == [
        *("python", "c#", "c++", "protocol buffer", "emacs lisp", "go", "brainfuck")
    ]
