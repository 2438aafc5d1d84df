"""A first stage, a ranker and a DALL-E of a few numbers each, trained for two steps: once for all tests of a worker."""

import pytest

from genjax import training

SHAPES = {"name": "captioned_shapes", "image_size": 32, "batch_size": 8, "num_images": 64, "evaluation_images": 16}
ADAM = {"name": "adam", "schedule": "constant", "peak_lr": 3e-3}
STAGE = {
    "name": "autoencoder",
    "model": {
        "widths": (8, 8, 8),
        "blocks": 1,
        "groups": 4,
        "attention_levels": (),
        "middle_attention": False,
        "latent_channels": 4,
        "bottleneck": {"name": "vector", "codes": 16, "width": 4, "restart": 0.1},
    },
}
TOWER = {"num_layers": 1, "num_heads": 2, "embed_dim": 16, "projection_dim": 8}
RANKER = {"name": "contrastive", "model": {"text": TOWER, "image": TOWER | {"patch_size": 8}}}
MODEL = {"num_layers": 2, "num_heads": 2, "embed_dim": 16, "patterns": ("row",), "last_pattern": "full", "init_std": 0.2}


def config(task, **train):
    train = {"steps": 2, "log_every": 2, "checkpoint_every": 2, "eval_every": 100} | train
    return {"seed": 1, "task": task, "data": SHAPES, "optimizer": ADAM, "train": train}


def dalle(folder, **section):
    own = {"name": "dalle", "first_stage": str(folder / "stage"), "ranker": str(folder / "ranker"), "model": MODEL}
    return own | {"prompts": ("a red circle",), "samples": 2} | section


@pytest.fixture(scope="session")
def dalle_runs(tmp_path_factory):
    """A folder of three runs: stage, ranker, and drawn, a DALL-E on both."""
    folder = tmp_path_factory.mktemp("dalle")
    training.train(config(STAGE), folder / "stage")
    training.train(config(RANKER), folder / "ranker")
    training.train(config(dalle(folder)), folder / "drawn")
    return folder
