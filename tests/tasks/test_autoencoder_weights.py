"""Published autoencoders by the commands that people use: folders and files to pictures, and runs to folders."""

import numpy as np
import pytest
import torch
from diffusers import VQModel
from PIL import Image
from safetensors.torch import save_file

from genjax import data, sampling, tasks, training
from genjax.errors import CheckpointError, ConfigError
from genjax.tasks.autoencoder import ReconstructionRequest
from tests.parity.test_autoencoder import build, first
from tests.parity.test_first_stage_files import taming_names
from tests.tasks.test_autoencoder import ADAM, SHAPES, SMALL, VECTOR


@pytest.fixture
def picture(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "given.png")
    return tmp_path / "given.png", pixels


def shown(model, pixels):
    with torch.no_grad():
        made = model(first(pixels[None] / np.float32(127.5) - 1)).sample
    return np.clip(np.round((made[0].movedim(0, -1).numpy() + 1) * 127.5), 0, 255)


@pytest.mark.parametrize("name", ["vq", "kl"])
def test_folders_and_files_give_images_back(name, tmp_path, picture):
    model, config, _ = build(name)
    file, pixels = picture
    model.save_pretrained(tmp_path / "folder")
    save_file(taming_names(model.state_dict(), 2), tmp_path / "model.safetensors")
    for place, groups in ((tmp_path / "folder", config.groups), (tmp_path / "model.safetensors", 16)):
        task, variables = tasks.open_weights(place)
        size = task.medium.height
        assert size == (32 if place.is_dir() else 256) and task.model_config.groups == groups
        (found,) = sampling.sample(task, variables, [ReconstructionRequest(str(file))])
        assert found.value.shape == (size, size, 3)
        if place.is_dir():
            assert np.abs(found.value - shown(model, pixels)).max() <= 1


def test_a_run_is_written_for_diffusers(tmp_path, picture):
    config = {
        "seed": 0,
        "task": {"name": "autoencoder", "model": SMALL | {"bottleneck": VECTOR}},
        "data": SHAPES,
        "optimizer": ADAM,
        "train": {"steps": 2},
    }
    training.train(config, tmp_path / "run")
    task, variables = sampling.open_run(tmp_path / "run")
    task.export(str(tmp_path / "folder"), variables)
    model = VQModel.from_pretrained(tmp_path / "folder")
    file, pixels = picture
    (found,) = sampling.sample(task, variables, [ReconstructionRequest(str(file))])
    assert np.abs(found.value - shown(model, pixels)).max() <= 1
    again, read = tasks.open_weights(tmp_path / "folder")
    np.testing.assert_array_equal(sampling.sample(again, read, [ReconstructionRequest(str(file))])[0].value, found.value)


def test_a_run_begins_with_published_weights(tmp_path):
    model, _, _ = build("kl")
    model.save_pretrained(tmp_path / "folder")
    bottleneck = {"name": "gaussian", "width": 4}
    network = {
        "widths": (16, 32),
        "blocks": 2,
        "groups": 8,
        "attention_levels": (),
        "latent_channels": 4,
        "latent_scale": 0.18215,
    }
    config = {
        "seed": 0,
        "task": {"name": "autoencoder", "model": network | {"bottleneck": bottleneck}},
        "data": SHAPES,
        "optimizer": ADAM | {"peak_lr": 1e-9},
        "train": {"steps": 1, "init_from": str(tmp_path / "folder")},
    }
    training.train(config, tmp_path / "run")
    _, variables = sampling.open_run(tmp_path / "run")
    kernel = np.moveaxis(model.state_dict()["decoder.conv_out.weight"].numpy(), (0, 1), (3, 2))
    np.testing.assert_allclose(variables["autoencoder"]["params"]["decoder"]["conv_out"]["kernel"], kernel, atol=2e-9)
    wrong = config | {"task": {"name": "autoencoder", "model": network | {"bottleneck": bottleneck, "groups": 4}}}
    with pytest.raises(CheckpointError, match="groups is 8 there and 4 here"):
        training.train(wrong, tmp_path / "wrong")


def test_two_levels_have_no_published_layout():
    level = SMALL | {"bottleneck": VECTOR}
    section = {"name": "autoencoder", "network": "two_level", "model": {"bottom": level, "top": level}}
    task = tasks.build(section, data.describe(SHAPES))
    with pytest.raises(ConfigError, match="no published layout of autoencoders of two levels"):
        task.export("folder", {})
