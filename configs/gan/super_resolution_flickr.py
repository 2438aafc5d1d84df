"""Photographs four times larger: a small SRResNet that learns from pixels alone.

    python train.py --config=configs/gan/super_resolution_flickr.py --workdir=runs/larger
    python sample.py --workdir=runs/larger --image=photograph.jpg --reduce --beside --out=larger.png

Hardware: two CPU cores, seven minutes. GENJAX_DATA names the folder that holds flickr900.zip. Measured: 0.9 dB above cubic
interpolation (luma 1.0; benchmarks/RESULTS.md).
"""

from ml_collections import ConfigDict


def get_config():
    return ConfigDict(
        {
            "seed": 0,
            "task": {"name": "super_resolution", "generator": {"width": 32, "blocks": 6}, "patch": 64},
            "data": {
                "name": "images",
                "path": "$GENJAX_DATA/flickr900.zip",
                "labels": "none",
                "image_size": 128,
                "augmentation": {"flip": True},
                "evaluation_fraction": 0.1,
                "batch_size": 8,
            },
            "generator_optimizer": {
                "name": "adam",
                "schedule": "warmup_cosine",
                "peak_lr": 1e-3,
                "end_lr": 1e-5,
                "warmup_steps": 100,
            },
            "ema": {"decays": (0.999,), "include": ("generator/*",)},
            "train": {
                "steps": 4000,
                "log_every": 20,
                "eval_every": 1000,
                "checkpoint_every": 1000,
            },
        }
    )
