"""A folder of genjax imports only from the folders below it, and nothing heavy or foreign is imported at run time."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ORDER = (
    *(
        "training",
        "sampling",
        "tasks",
        "data",
        "evaluation",
        "interop",
        "safety",
        "diffusion",
        "adversarial",
        "decoding",
        "models",
        "quantization",
        "layers",
    ),
    *("storage", "parallel", "commands", "config", "errors"),
)
FILES = sorted((ROOT / "genjax").rglob("*.py"))
FOREIGN = ("torch", "transformers", "diffusers", "tensorflow", "pickle", "pytest", "requests", "urllib")


def imports(path: Path) -> list[tuple[int, str]]:
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found += [(node.lineno, f"{node.module}.{alias.name}") for alias in node.names]
    return found


def room(name: str) -> str:
    parts = name.split(".")
    return parts[1] if len(parts) > 1 and parts[0] == "genjax" else ""


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT / "genjax")))
def test_imports_go_down(path):
    own = path.relative_to(ROOT / "genjax").parts[0].removesuffix(".py")
    if own == "__init__":
        own = "training"
    assert own in ORDER, f"{own} has no place in the house; add it to ORDER and DESIGN"
    for line, name in imports(path):
        other = room(name)
        if not other or other == own or other.startswith("__"):
            continue
        assert other in ORDER, f"{path}:{line} imports {name}"
        assert ORDER.index(other) > ORDER.index(own), f"{path}:{line}: {own}/ may not import {name}, which is above it"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT / "genjax")))
def test_no_foreign_imports(path):
    for line, name in imports(path):
        assert name.split(".")[0] not in FOREIGN, f"{path}:{line} imports {name}"


def test_importing_genjax_brings_no_torch_and_no_tensorflow():
    code = (
        "import sys, genjax.training, genjax.sampling, genjax.interop, genjax.evaluation\n"
        "print([m for m in ('torch', 'tensorflow', 'transformers') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert result.stdout.strip() == "[]", result.stdout + result.stderr


@pytest.mark.parametrize("path", [p for p in FILES], ids=lambda p: str(p.relative_to(ROOT / "genjax")))
def test_files_are_short(path):
    assert len(path.read_text().splitlines()) <= 500
