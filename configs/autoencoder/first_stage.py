"""What the recipes of first stages share: data, a small network, the optimizer, the cadences. Not a config by itself."""

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

SHAPES = {
    "name": "captioned_shapes",
    "image_size": 32,
    "batch_size": 32,
}
SHAPES_CODES = {"name": "vector", "codes": 512, "width": 32, "decay": 0.95, "restart": 0.1}
FASHION_MNIST = {
    "name": "images",
    "source": "idx",
    "path": "$GENJAX_DATA/fashion_mnist/train-images-idx3-ubyte.gz",
    "evaluation_path": "$GENJAX_DATA/fashion_mnist/t10k-images-idx3-ubyte.gz",
    "classes": (
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
        *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    ),
    "image_size": 28,
    "channels": 1,
    "batch_size": 64,
}
EMOJI = {
    "name": "image_texts",
    "path": "$GENJAX_DATA/emoji.zip",
    "tokenizer": {"name": "wordpiece", "vocab_size": 2048},
    "context_length": 16,
    "image_size": 64,
    "augmentation": {"pad": 4, "zoom": 0.1},
    "batch_size": 32,
}
# Three levels: an image becomes codes of a quarter of its height and width.
NETWORK = {
    "widths": (24, 48, 64),
    "blocks": 1,
    "groups": 8,
    "attention_levels": (),
    "middle_attention": False,
    "latent_channels": 48,
}


def recipe(data: Mapping[str, Any], bottleneck: Mapping[str, Any], *, steps: int = 1200, **task: Any) -> ConfigDict:
    """An autoencoder of three levels around a bottleneck.

    Pixels by squares: of small things on a plain ground, absolute differences teach the ground first and colors late (after 400
    steps on shapes 21 dB, where squares have 28).

    Args:
        task: further fields of `config.task`; `model` changes fields of the network.
    """
    network = NETWORK | {"bottleneck": bottleneck} | task.pop("model", {})
    task = {"pixels": "squared", "commitment": 0.05, **task}
    return ConfigDict(
        {
            "seed": 0,
            "task": {"name": "autoencoder", "model": network, **task},
            "data": dict(data),
            "optimizer": {
                "name": "adam",
                "schedule": "warmup_cosine",
                "peak_lr": 1e-3,
                "end_lr": 1e-5,
                "warmup_steps": 100,
                "b2": 0.99,
                "clip_norm": 1.0,
            },
            "train": {
                "steps": steps,
                "log_every": 20,
                "eval_every": 400,
                "eval_batches": 16,
                "sample_every": 400,
                "checkpoint_every": 400,
            },
        }
    )


def discrete_vae(data: Mapping[str, Any], *, codes: int) -> ConfigDict:
    """Codes chosen by Gumbel noise that cools. It learns slower than the others, by the noise, and has three times their steps.

    Pixels by squares again: DALL-E's logit-Laplace density is for photographs. On the plain grounds of these images it has no
    limit, and after 1,200 steps it had been spent on the ground alone (shapes: 18 dB).
    """
    bottleneck = {"name": "gumbel", "codes": codes, "width": 64, "gain": 8.0}
    steps = 3600
    schedules = {"kl": 0.2, "kl_steps": 500, "temperature_steps": 3000}
    config = recipe(data, bottleneck, steps=steps, model={"latent_channels": 128}, **schedules)
    config.optimizer.peak_lr = 2e-3
    return config


def vqgan(data: Mapping[str, Any], bottleneck: Mapping[str, Any], *, features: str) -> ConfigDict:
    """The same with features of another run and, in the second half, a discriminator of patches."""
    steps = 1200
    task = {
        "perceptual": 0.2,
        "features": features,
        "adversarial": 0.3,
        "adversarial_start": steps // 2,
        "discriminator": {"width": 32, "layers": 2, "norm": "batch"},
    }
    judge = {"name": "adam", "schedule": "constant", "peak_lr": 5e-4, "b1": 0.5, "b2": 0.9}
    config = recipe(data, bottleneck, steps=steps, **task)
    config.discriminator_optimizer = ConfigDict(judge)
    return config
