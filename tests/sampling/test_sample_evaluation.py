"""Measuring what a run makes: shares of samples that show what was asked, distances from real images, and messages."""

import json
from dataclasses import replace

import jax
import numpy as np
import pytest

from genjax import data
from genjax.data.sources import shapes
from genjax.errors import ConfigError, GenjaxError, RequestError
from genjax.evaluation.images.collection import collect
from genjax.evaluation.images.measures import MeasureConfig, measure
from genjax.sampling import judges, open_run, sample_evaluation
from genjax.sampling.run import read_config
from genjax.tasks.base import BaseTask
from genjax.tasks.contract import Artifact
from genjax.training import train
from genjax.training.evaluation import make_measuring
from genjax.training.metrics import read_metrics
from genjax.training.run_config import structure_run
from genjax.training.setup import make_plan
from tests.data.pictures import png, write_zip

COLORS = {"dark": (40, 30, 30), "light": (220, 230, 220)}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A classifier and a diffusion model of dark and light squares, both barely trained."""
    folder = tmp_path_factory.mktemp("runs")
    files = {
        f"{name}/{number}.png": png(tuple(channel + 4 * number for channel in color))
        for name, color in COLORS.items()
        for number in range(8)
    }
    data = {"name": "images", "path": str(write_zip(folder / "squares.zip", files)), "image_size": 8, "batch_size": 8}
    shared = {"data": data | {"evaluation_fraction": 0.25}, "optimizer": {"peak_lr": 3e-3, "schedule": "constant"}}
    vit = {"patch_size": 4, "num_layers": 1, "num_heads": 1, "embed_dim": 8}
    train(
        shared | {"task": {"name": "classification", "model": vit}, "train": {"steps": 30}},
        folder / "classifier",
    )
    unet = {"widths": (8,), "blocks": 1, "groups": 4, "attention_levels": (), "middle_attention": False}
    task = {"name": "diffusion", "model": unet, "process": {"prediction": "edm"}, "sampling": {"steps": 4, "sampler": "ddim"}}
    measure = {"features": "$RUNS/classifier", "samples": 7, "request": {"steps": 3}}
    settings = {"steps": 4, "checkpoint_every": 2, "measure_every": 2}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RUNS", str(folder))
        train(shared | {"task": task, "measure": measure, "train": settings}, folder / "diffusion")
    return folder


def evaluate(runs, *arguments):
    return sample_evaluation.run(*sample_evaluation.parser().parse_known_args([f"--workdir={runs}/diffusion", *arguments]))


def test_every_checkpoint_is_measured_by_the_named_features(runs, tmp_path):
    wanted = ["--samples=7", f"--features={runs}/classifier", "--checkpoint=all", "--steps=3", f"--out={tmp_path}/curve"]
    rows = evaluate(runs, *wanted)
    assert [row["checkpoint"] for row in rows] == [2, 4] and json.loads((tmp_path / "curve" / "summary.json").read_text()) == rows
    figures = rows[-1]["figures"]
    (fid,) = (name for name in figures if name.endswith("/fid"))
    assert fid.startswith("vit-classifier-") and fid.removesuffix("/fid").endswith("-30") and figures[fid] > 0
    assert 0 <= figures["agreement_class"] <= 1 and rows[0]["request"]["steps"] == 3
    assert any("fid: of generated images" in note for note in rows[0]["notes"])  # 7 images, 8 features
    assert {file.name for file in (tmp_path / "curve").iterdir()} == {"summary.json", "samples.png", "curves.png"}
    # The run measured itself alike: on eight devices, and the command on one; what is rounded differs.
    records = {line["step"]: line for line in read_metrics(runs / "diffusion" / "metrics.jsonl")}
    for row in rows:
        named = {f"samples/{name}": value for name, value in row["figures"].items()}
        found = {name: value for name, value in records[row["checkpoint"]].items() if name.startswith("samples/")}
        assert found == pytest.approx(named, rel=1e-3)
    # The reference is kept in the run; and the same samples give the same figures.
    again = evaluate(runs, *wanted[:2], "--likelihood=2", "--steps=3", f"--out={tmp_path}/again", "--checkpoint=4")[0]["figures"]
    assert all(5 < again.pop(f"bits_by_{way}") < 12 for way in ("flow", "bound")) and again == figures
    assert list((runs / "diffusion" / "cache").glob("features-*"))


def test_measuring_does_not_change_what_is_trained(runs, tmp_path):
    config = read_config(runs / "diffusion")
    steps = {"steps": 4, "checkpoint_every": 4}
    train({name: config[name] for name in ("data", "optimizer", "task")} | {"train": steps}, tmp_path / "plain")
    (_, one), (_, two) = (open_run(path) for path in (runs / "diffusion", tmp_path / "plain"))
    jax.tree.map(np.testing.assert_array_equal, one, two)


def test_what_cannot_be_measured_is_said_before_the_first_step(runs, tmp_path):
    config = {name: read_config(runs / "diffusion")[name] for name in ("data", "task")}
    config |= {"train": {"steps": 4, "measure_every": 3}}
    with pytest.raises(ConfigError, match="measure_every is 3, but .* it names nothing to measure with"):
        train(config, tmp_path / "run")
    assert {file.name for file in (tmp_path / "run").iterdir()} <= {"lock", "data"}
    plan, features = make_plan(structure_run(config)), {"features": f"{runs}/classifier"}
    for section, task, message in (
        ({"features": f"{runs}/none"}, plan.task, "there is no run directory"),
        ({"features": f"{runs}/diffusion"}, plan.task, "is no run of task 'classification'"),
        (features | {"request": {"stepz": 1}}, plan.task, "did you mean request.steps"),
        (features | {"samples": 5}, plan.task, "samples is 5; measures by neighbours need more than 5"),
        (features, BaseTask(), "BaseTask makes no images or sounds from noise"),
    ):
        given = replace(plan, config=structure_run(config | {"measure": section}), task=task)
        with pytest.raises(ConfigError, match=message):
            make_measuring(given, tmp_path)
    with pytest.raises(ConfigError, match="samples is 1; measure 2 or more"):
        structure_run(config | {"measure": features | {"samples": 1}})


def test_the_real_images_are_at_no_distance_from_themselves(runs):
    network = judges.feature_network(runs / "classifier")
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (40, 8, 8, 3)).astype(np.uint8)
    found = measure(
        collect(network, [images]), collect(network, [images[:25], images[25:]]), MeasureConfig(kernel_subset_size=40)
    )
    assert abs(found.figures[f"{network.name}/fid"]) < 1e-6 and found.figures[f"{network.name}/coverage"] == 1


def test_a_classifier_says_what_images_show(runs):
    """30 steps are enough to tell dark from light; and what was not asked for does not agree."""
    judge = judges.judge_of(runs / "classifier")
    artifacts = [Artifact("image", np.full((8, 8, 3), level, np.uint8), {}) for level in (40, 230, 50)]
    found = judge(artifacts)
    assert [one["class"] for one in found] == ["dark", "light", "dark"]
    asked = [{"class": "dark"}, {"class": "light"}, {"class": "light"}]
    assert judges.agreement(asked, found) == {"agreement_class": pytest.approx(2 / 3)}
    assert judges.spread(asked + found[1:2]) == {"effective_classes": pytest.approx(4 / 3**0.75)}  # shares 1/4 and 3/4


@pytest.mark.parametrize("groups, size", [(1, 32), (2, 64)])
def test_drawn_shapes_are_read_without_a_network(groups, size):
    """Two groups also where they were asked for from the other one; another color does not agree."""
    datasets = data.build({"name": "shapes", "num_groups": groups, "image_size": size, "batch_size": 16}, seed=0, cache_dir=None)
    info, batch = datasets.train.info, datasets.train.batch(0)
    asked = shapes.swapped(batch["label"]) if groups == 2 else batch["label"]
    words = [{name: values[i] for (name, values), i in zip(info.attributes, row, strict=True)} for row in asked]
    artifacts = [Artifact("image", *pair) for pair in zip(batch["image"], ({"label": word} for word in words), strict=True)]
    judge = judges.shapes_judge(info)
    assert judge(artifacts) == words
    blue = [Artifact("image", np.ascontiguousarray(a.value[..., ::-1]), a.metadata) for a in artifacts]
    assert judges.agreement(words, judge(blue))["agreement_of_all"] < 1


def test_shares_of_attributes():
    asked = [{"color": "red", "count": "two"}] * 4
    found = [{"color": "red", "count": "two"}, {"color": "red"}, {"color": "blue", "count": "two"}, {}]
    assert judges.agreement(asked, found) == {
        "agreement_color": 0.5,
        "agreement_count": 0.5,
        "agreement": 0.5,
        "agreement_of_all": 0.25,
    }


def test_messages(runs, tmp_path):
    out = f"--out={tmp_path}/new"
    for arguments, message in (
        ((out,), "name --features, --inception, --judge or --likelihood"),
        ((out, f"--features={runs}/diffusion"), "is no run of task 'classification'"),
        ((out, f"--judge={runs}/diffusion"), "neither classifies images nor writes down sounds"),
        ((out, f"--features={runs}/classifier", "--checkpoint=3"), "has 2, 4; name one, or all"),
        ((out, f"--features={runs}/classifier", "--samples=1"), "measure 2 or more"),
        ((out, f"--features={runs}/classifier", "--stepz=1"), "did you mean --steps"),
        ((f"--out={runs}", f"--features={runs}/classifier"), "already holds files"),
    ):
        with pytest.raises(GenjaxError, match=message):
            evaluate(runs, *arguments)
    artifacts = [Artifact("image", np.zeros((size, 8, 3), np.uint8), {}) for size in (8, 4)]
    with pytest.raises(RequestError, match="of several sizes"):
        judges.stacked(artifacts)
