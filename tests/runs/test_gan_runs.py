"""Runs of GANs through the loop, in one go and stopped on the way: the same bits, with all that moves beside the players."""

import json

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
def test_a_run_that_was_stopped_ends_with_the_same_bits(make, drawings, tmp_path, capsys):
    config = make(drawings) | {
        "seed": 1,
        "generator_optimizer": ADAM,
        "discriminator_optimizer": ADAM,
        "ema": {"decays": (0.9,), "include": ("generator*",), "rampup": 0.5},
    }
    train = {"log_every": 2, "eval_every": 100, "checkpoint_every": 3, "keep_every": 3}
    training.train(config | {"train": train | {"steps": 6}}, tmp_path / "whole")
    for steps in (3, 6):
        training.train(config | {"train": train | {"steps": steps}}, tmp_path / "halted", allow_changes=True)
    assert checkpoint_steps(tmp_path / "halted" / "checkpoints") == checkpoint_steps(tmp_path / "whole" / "checkpoints")
    (_, one), (_, two) = (open_run(tmp_path / name, 6) for name in ("whole", "halted"))
    jax.tree.map(np.testing.assert_array_equal, one, two)
    if make is styles:
        assert float(one["augmentation"]["ada"]["probability"]) != 0.5 and float(one["path_length"]["moving"]["mean"]) > 0
        assert np.any(one["generator"]["w_avg"]["mean"])
    elif make is growing:
        assert int(one["growth"]["shown"]["images"]) == 48
        lines = [json.loads(line) for line in (tmp_path / "halted" / "metrics.jsonl").read_text().splitlines()]
        curve = {line["step"]: line["discriminator/resolution"] for line in lines if "discriminator/resolution" in line}
        assert curve == {2: 4.0, 3: 6.0, 4: 8.0, 6: 8.0} and all("nan" not in str(line).lower() for line in lines)
        said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("compiled")]
        stages = ["compiled the train step", "compiled discriminator_8, generator_8"]
        assert [line.split(" in ")[0] for line in said] == [*stages, *stages, stages[0]]
    else:
        assert int(one["discriminator_target"]["pool"]["count"]) == 6
