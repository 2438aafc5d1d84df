"""The recipe that the CLIP sizes share, after Radford et al., 2021, section 2.5 and table 18. Not a config by itself."""

from ml_collections import ConfigDict


def recipe(size: str, *, batch_size: int, peak_lr: float, b2: float, image_size: int = 224, **mesh) -> ConfigDict:
    """A pretraining run of `size` (a row of genjax/models/clip_sizes.py) on 12.8 billion pairs.

    The pairs come from `--config.data.path`, a folder or an archive with images and metadata.jsonl.
    """
    return ConfigDict(
        {
            "seed": 0,
            "task": {
                "name": "contrastive",
                "model": {"size": size, "dtype": "bfloat16", "scan_layers": True, "remat": "full"},
            },
            "data": {
                "name": "image_texts",
                "path": "",
                "tokenizer": {"name": "pretrained", "path": "TOKENIZER"},
                "context_length": 77,
                "image_size": image_size,
                "evaluation_fraction": 0.001,
                "batch_size": batch_size,
            },
            "optimizer": {
                "name": "adamw",
                "schedule": "warmup_cosine",
                "peak_lr": peak_lr,
                "end_lr": 0.0,
                "warmup_steps": 2000,
                "b1": 0.9,
                "b2": b2,
                "eps": 1e-6,
                "weight_decay": 0.2,
                "no_decay": ("*/bias", "*/scale", "*/log_scale"),
                "clip_norm": 1.0,
            },
            "mesh": mesh or {"data": -1},
            "train": {
                "steps": 12_800_000_000 // batch_size,
                "log_every": 10,
                "eval_every": 5000,
                "checkpoint_every": 5000,
            },
        }
    )
