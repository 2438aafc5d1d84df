"""What the recipes for Fashion-MNIST share: data, optimizers, and how often what is done. Not a config by itself."""

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict


def recipe(task: Mapping[str, Any], *, steps: int, batch_size: int = 64, adam: Mapping[str, Any]) -> ConfigDict:
    """Two players over 32x32 pixels, to which the images are enlarged.

    Where the run of configs/vit/fashion_mnist.py is at hand, its features measure the samples on the way:
    --config.train.measure_every=1000 --config.measure.features=runs/fashion_mnist

    Args:
        adam: peak_lr, b1 and b2 of both players.
    """
    optimizer = {"name": "adam", "schedule": "constant", **adam}
    return ConfigDict(
        {
            "seed": 0,
            "task": {"name": "gan", **task},
            "data": {
                "name": "images",
                "source": "idx",
                "path": "$GENJAX_DATA/fashion_mnist/train-images-idx3-ubyte.gz",
                "evaluation_path": "$GENJAX_DATA/fashion_mnist/t10k-images-idx3-ubyte.gz",
                "classes": (
                    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
                    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
                ),
                "image_size": 32,
                "channels": 1,
                "batch_size": batch_size,
            },
            "generator_optimizer": optimizer,
            "discriminator_optimizer": optimizer,
            "ema": {"decays": (0.999,), "include": ("generator/*",)},
            "train": {
                "steps": steps,
                "log_every": 20,
                "eval_every": 1000,
                "eval_batches": 8,
                "sample_every": 500,
                "checkpoint_every": 1000,
                "keep_every": 1000,
            },
        }
    )
