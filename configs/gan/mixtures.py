"""What the recipes for mixtures of Gaussians share. Not a config by itself."""

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict


def recipe(data: Mapping[str, Any], task: Mapping[str, Any], *, steps: int, peak_lr: float = 1e-3, b1: float = 0.5) -> ConfigDict:
    """Two players over points, each trained by Adam."""
    adam = {"name": "adam", "schedule": "constant", "peak_lr": peak_lr, "b1": b1, "b2": 0.9}
    return ConfigDict(
        {
            "seed": 0,
            "task": {"name": "gan", "network": "points", **task},
            "data": {"name": "mixture", "batch_size": 256, **data},
            "generator_optimizer": adam,
            "discriminator_optimizer": adam,
            "ema": {"decays": (0.99,), "include": ("generator/*",)},
            "train": {
                "steps": steps,
                "log_every": 100,
                "eval_every": 500,
                "sample_every": 500,
                "checkpoint_every": 1000,
            },
        }
    )
