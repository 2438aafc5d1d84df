"""Every file of configs/ is a run: its keys are known, and its model, optimizer and shapes go together."""

import ast
from pathlib import Path

import jax
import pytest

from genjax.config import load_file
from genjax.training.run_config import structure_run
from genjax.training.setup import make_plan

ROOT = Path(__file__).resolve().parent.parent
FILES = sorted((ROOT / "configs").rglob("*.py"))
RECIPES = [file for file in FILES if "def get_config(" in file.read_text()]


@pytest.mark.parametrize("file", RECIPES, ids=lambda f: f.stem)
def test_a_recipe_makes_a_plan(file):
    config = load_file(file)
    plan = make_plan(structure_run(config | {"mesh": {}}), devices=jax.devices()[:1], with_data=False)
    assert all(spec.shape[0] == config["data"]["batch_size"] for spec in plan.batch.values())
    if "sequence_length" in config["data"]:
        assert plan.batch["tokens"].shape[1] == config["data"]["sequence_length"]


@pytest.mark.parametrize("file", RECIPES, ids=lambda f: f.stem)
def test_a_recipe_says_how_it_is_run_and_on_what(file):
    text = ast.get_docstring(ast.parse(file.read_text()))
    assert f"--config={file.relative_to(ROOT)}" in text or "benchmarks/" in text
    assert "Hardware:" in text or "Compiled for" in text
