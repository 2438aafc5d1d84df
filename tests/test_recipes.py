"""Every file of configs/ is a run: its keys are known, and its model, optimizer and shapes go together."""

import ast
import json
from pathlib import Path

import jax
import pytest

from genjax import tasks
from genjax.config import load_file, plain
from genjax.training.run_config import structure_run
from genjax.training.setup import make_plan

ROOT = Path(__file__).resolve().parent.parent
FILES = sorted((ROOT / "configs").rglob("*.py"))
RECIPES = [file for file in FILES if "def get_config(" in file.read_text()]


@pytest.mark.parametrize("file", RECIPES, ids=lambda f: f.stem)
def test_a_recipe_makes_a_plan(file, tmp_path):
    config = load_file(file)
    with_neighbours(config["task"], tmp_path)
    plan = make_plan(structure_run(config | {"mesh": {}}), devices=jax.devices()[:1], with_data=False)
    assert {spec.shape[0] for spec in plan.batch.values()} == {config["data"]["batch_size"]}
    if "tokens" in plan.batch and "sequence_length" in config["data"]:
        assert plan.batch["tokens"].shape[1] == config["data"]["sequence_length"]


def with_neighbours(task, folder):
    """Runs that a recipe takes networks from, each in place of the one that another recipe's command makes."""
    for name, place in tasks.adopted_runs(task).items():
        command = "train.py --config={} --workdir=" + place + "\n"
        (recipe,) = (file for file in RECIPES if command.format(file.relative_to(ROOT)) in file.read_text())
        config = plain(load_file(recipe))
        run = folder / name
        with_neighbours(config["task"], run / "adopted")
        run.mkdir(exist_ok=True, parents=True)
        (run / "config.json").write_text(json.dumps(config))
        task[name] = str(run)


@pytest.mark.parametrize("file", RECIPES, ids=lambda f: f.stem)
def test_a_recipe_says_how_it_is_run_and_on_what(file):
    text = ast.get_docstring(ast.parse(file.read_text()))
    assert f"--config={file.relative_to(ROOT)}" in text or "benchmarks/" in text
    assert "Hardware:" in text or "Compiled for" in text
