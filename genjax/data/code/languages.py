"""Languages: what their files are called, and how a comment is written in them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath


@dataclass(frozen=True)
class Language:
    """Attributes:
    suffixes: endings of its files, separated by spaces.
    comment: what stands before and after a comment's text; None where the format has no comments.
    names: whole names of files without an ending, separated by spaces.
    """

    suffixes: str
    comment: tuple[str, str] | None
    names: str = ""


HASH, SLASHES, DASHES, PERCENT, SEMICOLON = ("# ", ""), ("// ", ""), ("-- ", ""), ("% ", ""), ("; ", "")
MARKUP, BLOCK, PARENTHESES = ("<!-- ", " -->"), ("/* ", " */"), ("(* ", " *)")

# Keys are GitHub's names of the languages in lower case. An ending that several languages share stands with the commonest.
LANGUAGES: Mapping[str, Language] = {
    "ada": Language(".adb .ads", DASHES),
    "assembly": Language(".asm .nasm", SEMICOLON),
    "awk": Language(".awk", HASH),
    "batchfile": Language(".bat .cmd", ("REM ", "")),
    "c": Language(".c .h", BLOCK),
    "c#": Language(".cs", SLASHES),
    "c++": Language(".cc .cpp .cxx .hh .hpp .hxx .ipp", SLASHES),
    "clojure": Language(".clj .cljc .cljs", SEMICOLON),
    "cmake": Language(".cmake", HASH, "CMakeLists.txt"),
    "coffeescript": Language(".coffee", HASH),
    "common lisp": Language(".lisp .lsp", SEMICOLON),
    "crystal": Language(".cr", HASH),
    "css": Language(".css", BLOCK),
    "cuda": Language(".cu .cuh", SLASHES),
    "cython": Language(".pyx .pxd .pxi", HASH),
    "d": Language(".d", SLASHES),
    "dart": Language(".dart", SLASHES),
    "dockerfile": Language(".dockerfile", HASH, "Dockerfile Containerfile"),
    "elixir": Language(".ex .exs", HASH),
    "elm": Language(".elm", DASHES),
    "emacs lisp": Language(".el", SEMICOLON),
    "erlang": Language(".erl .hrl", PERCENT),
    "f#": Language(".fs .fsi .fsx", SLASHES),
    "fortran": Language(".f .f77 .f90 .f95 .for", ("! ", "")),
    "glsl": Language(".glsl .vert .frag .geom", SLASHES),
    "go": Language(".go", SLASHES),
    "graphql": Language(".graphql .gql", HASH),
    "groovy": Language(".groovy .gradle", SLASHES, "Jenkinsfile"),
    "haskell": Language(".hs .lhs", DASHES),
    "hcl": Language(".hcl .tf", HASH),
    "html": Language(".htm .html .xhtml", MARKUP),
    "ini": Language(".cfg .ini", SEMICOLON),
    "java": Language(".java", SLASHES),
    "javascript": Language(".cjs .js .jsx .mjs", SLASHES),
    "json": Language(".json", None),
    "julia": Language(".jl", HASH),
    "kotlin": Language(".kt .kts", SLASHES),
    "lua": Language(".lua", DASHES),
    "makefile": Language(".mak .mk", HASH, "Makefile makefile GNUmakefile"),
    "markdown": Language(".markdown .md", MARKUP),
    "mathematica": Language(".wl .wls", PARENTHESES),
    "matlab": Language("", PERCENT),  # its files end as those of Objective-C do
    "meson": Language("", HASH, "meson.build meson_options.txt"),
    "nim": Language(".nim", HASH),
    "nix": Language(".nix", HASH),
    "objective-c": Language(".m", SLASHES),
    "objective-c++": Language(".mm", SLASHES),
    "ocaml": Language(".ml .mli", PARENTHESES),
    "pascal": Language(".dpr .pas", ("{ ", " }")),
    "perl": Language(".pl .pm", HASH),
    "php": Language(".php", MARKUP),  # text outside <?php ... ?> is HTML
    "powershell": Language(".ps1 .psm1", HASH),
    "prolog": Language(".prolog", PERCENT),
    "protocol buffer": Language(".proto", SLASHES),
    "python": Language(".py .pyi .pyw", HASH, "SConstruct SConscript wscript"),
    "r": Language(".R .r", HASH),
    "racket": Language(".rkt", SEMICOLON),
    "restructuredtext": Language(".rst", (".. ", "")),
    "ruby": Language(".rake .rb", HASH, "Gemfile Rakefile"),
    "rust": Language(".rs", SLASHES),
    "scala": Language(".sbt .scala", SLASHES),
    "scheme": Language(".scm .ss", SEMICOLON),
    "scss": Language(".scss", BLOCK),
    "shell": Language(".bash .sh .zsh", HASH),
    "solidity": Language(".sol", SLASHES),
    "sql": Language(".sql", DASHES),
    "starlark": Language(".bzl .star", HASH, "BUILD BUILD.bazel WORKSPACE"),
    "svelte": Language(".svelte", MARKUP),
    "swift": Language(".swift", SLASHES),
    "systemverilog": Language(".sv .svh", SLASHES),
    "tcl": Language(".tcl", HASH),
    "tex": Language(".sty .tex", PERCENT),
    "toml": Language(".toml", HASH),
    "typescript": Language(".ts .tsx", SLASHES),
    "unix assembly": Language(".S .s", HASH),
    "verilog": Language(".v .vh", SLASHES),
    "vhdl": Language(".vhd .vhdl", DASHES),
    "vim script": Language(".vim", ('" ', "")),
    "visual basic": Language(".bas .vb", ("' ", "")),
    "vue": Language(".vue", MARKUP),
    "xml": Language(".xml .xsd .xsl", MARKUP),
    "yaml": Language(".yaml .yml", HASH),
    "zig": Language(".zig", SLASHES),
}

# Other names under which corpora keep these languages.
OTHER_NAMES = {"bash": "shell", "c-sharp": "c#", "cpp": "c++", "csharp": "c#", "golang": "go", "js": "javascript", "py": "python"}

_BY_SUFFIX = {suffix: name for name, language in LANGUAGES.items() for suffix in language.suffixes.split()}
_BY_NAME = {file: name for name, language in LANGUAGES.items() for file in language.names.split()}


def language_of(path: str) -> str:
    """The language of a file by its name alone, "" for one that the table does not know."""
    file = PurePosixPath(path)
    return _BY_NAME.get(file.name) or _BY_SUFFIX.get(file.suffix) or _BY_SUFFIX.get(file.suffix.lower(), "")


def canonical(name: str) -> str:
    """A corpus' name of a language as this table has it: "Python" is "python", "c-sharp" is "c#"."""
    lowered = name.strip().lower().replace("_", " ")
    return OTHER_NAMES.get(lowered, lowered)


def tag(language: str) -> str:
    """A comment line in the language's own syntax that names it; "" where the language is unknown or has no comments."""
    known = LANGUAGES.get(language)
    if known is None or known.comment is None:
        return ""
    before, after = known.comment
    return f"{before}language: {language}{after}\n"
