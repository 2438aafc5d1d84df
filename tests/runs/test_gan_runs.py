"""Runs of GANs through the loop, whole and from a checkpoint on the way: the same bits, with all that moves beside players."""

import json
import shutil

import jax
import numpy as np
import pytest
from PIL import Image

from genjax import training
from genjax.sampling import open_run
from genjax.storage.restore import checkpoint_steps

ADAM = {"name": "adam", "peak_lr": 1e-3, "b1": 0.0, "b2": 0.99, "schedule": "constant"}


@pytest.fixture(scope="module")
def drawings(tmp_path_factory):
    path = tmp_path_factory.mktemp("drawings")
    rng = np.random.default_rng(0)
    for folder in ("a", "b"):
        (path / folder).mkdir()
        for number in range(12):
            Image.fromarray(rng.integers(0, 256, (8, 8, 3)).astype(np.uint8)).save(path / folder / f"{number}.png")
    return path


def styles(path):
    """StyleGAN2-ADA with both its lazy turns, on some steps together."""
    task = {
        "name": "gan", "network": "stylegan2", "r1": 1.0, "r1_every": 4, "path_length": 2.0, "path_length_every": 2,
        "style_mixing": 0.9, "ada": {"pipeline": "bg", "probability": 0.5, "kimg": 1.0, "interval": 1},
        "model": {
            "latent": 4, "style_width": 4, "mapping_layers": 1, "channel_base": 32, "channel_max": 4, "mbstd_group_size": 4,
        },
    }  # fmt: skip
    return {"task": task, "data": {"name": "images", "path": str(path / "a"), "labels": "none", "batch_size": 8}}


def cycle(path):
    task = {
        "name": "image_to_image", "method": "cyclegan", "network": "resnet", "objective": "least_squares", "pool_size": 6,
        "generator": {"levels": 1, "width": 4, "blocks": 1}, "discriminator": {"layers": 1, "width": 4},
    }  # fmt: skip
    data = {"name": "image_pairs", "path": str(path), "layout": "unpaired", "source": "a", "target": "b", "batch_size": 8}
    return {"task": task, "data": data}


def growing(path):
    """Two steps of 4x4 pixels, then 8x8, which fade in until the fourth: the run stops on the way."""
    task = {
        "name": "gan", "network": "progressive", "growth": {"fade_images": 16, "stay_images": 16},
        "model": {"latent": 4, "channel_base": 16, "channel_max": 4}, "requests": ({"num_samples": 1},),
    }  # fmt: skip
    return {"task": task, "data": {"name": "images", "path": str(path / "a"), "labels": "none", "batch_size": 8}}


@pytest.mark.parametrize("make", [styles, cycle, growing])
def test_a_run_that_goes_on_from_its_middle_ends_with_the_same_bits(make, drawings, tmp_path, capsys):
    config = make(drawings) | {
        "seed": 1,
        "generator_optimizer": ADAM,
        "discriminator_optimizer": ADAM,
        "ema": {"decays": (0.9,), "include": ("generator*",), "rampup": 0.5},
    }
    train = {"steps": 6, "log_every": 2, "eval_every": 100, "checkpoint_every": 3, "keep_every": 3}
    training.train(config | {"train": train}, tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "halted")
    shutil.rmtree(tmp_path / "halted" / "checkpoints" / "6")  # as one that was killed before it was written
    training.train(config | {"train": train}, tmp_path / "halted")
    assert checkpoint_steps(tmp_path / "halted" / "checkpoints") == checkpoint_steps(tmp_path / "whole" / "checkpoints")
    (_, one), (_, two) = (open_run(tmp_path / name, 6) for name in ("whole", "halted"))
    jax.tree.map(np.testing.assert_array_equal, one, two)
    if make is styles:
        assert float(one["augmentation"]["ada"]["probability"]) != 0.5 and float(one["path_length"]["moving"]["mean"]) > 0
        assert np.any(one["generator"]["w_avg"]["mean"])
    elif make is growing:
        assert int(one["growth"]["shown"]["images"]) == 48
        assert resolutions(tmp_path / "whole") == {2: 4.0, 4: 7.0, 6: 8.0}
        # Of steps since the run went on.
        assert resolutions(tmp_path / "halted") == {2: 4.0, 4: 8.0, 6: 8.0}
        said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("compiled")]
        stages = ["compiled the train step", "compiled discriminator_8, generator_8"]
        assert [line.split(" in ")[0] for line in said] == [*stages, stages[0]]
    else:
        assert int(one["discriminator_target"]["pool"]["count"]) == 6


def resolutions(run):
    """What the curve of a run that grows shows; no line of it holds a number that is none."""
    text = (run / "metrics.jsonl").read_text()
    assert "nan" not in text.lower()
    lines = [json.loads(line) for line in text.splitlines()]
    return {line["step"]: line["discriminator/resolution"] for line in lines if "discriminator/resolution" in line}
