"""What the recipes from images to images share: Adam as published, and how often what is done. Not a config by itself."""

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

ADAM = {"name": "adam", "peak_lr": 2e-4, "b1": 0.5, "b2": 0.999}
EMOJI = {"path": "$GENJAX_DATA/emoji.zip", "source": "google", "target": "twitter", "evaluation_fraction": 0.1}


def recipe(task: Mapping[str, Any], data: Mapping[str, Any], *, steps: int, every: int) -> ConfigDict:
    """Constant steps for the first half of the run, then ever smaller ones (CycleGAN, section 4).

    Args:
        every: steps between looks at held-out pairs, and between checkpoints.
    """
    adam = {**ADAM, "schedule": "warmup_stable_decay", "decay_fraction": 0.5}
    return ConfigDict(
        {
            "seed": 0,
            "task": {"name": "image_to_image", **task},
            "data": {"name": "image_pairs", **data},
            "generator_optimizer": adam,
            "discriminator_optimizer": adam,
            "train": {"steps": steps, "log_every": 20, "eval_every": every, "checkpoint_every": every, "keep_every": every},
        }
    )
