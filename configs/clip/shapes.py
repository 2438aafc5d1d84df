"""A small CLIP on drawn shapes and what is said of them: it chooses among what configs/dalle/shapes.py draws.

    python train.py --config=configs/clip/shapes.py --workdir=runs/clip_shapes

Hardware: two CPU cores, ten minutes; no data needed. Measured as a judge: the best of 16 pictures by it raise what is
right from 93.6 to 99.5 % (benchmarks/RESULTS.md).
"""

from ml_collections import ConfigDict


def get_config():
    return ConfigDict(
        {
            "seed": 0,
            "task": {
                "name": "contrastive",
                "model": {
                    "text": {"num_layers": 2, "num_heads": 4, "embed_dim": 96, "projection_dim": 64},
                    "image": {"num_layers": 3, "num_heads": 4, "embed_dim": 96, "projection_dim": 64, "patch_size": 4},
                },
                "mean": (0.5, 0.5, 0.5),
                "std": (0.5, 0.5, 0.5),
            },
            "data": {
                "name": "captioned_shapes",
                "image_size": 32,
                "batch_size": 128,
            },
            "optimizer": {
                "name": "muon",
                "schedule": "warmup_cosine",
                "peak_lr": 4e-3,
                "end_lr": 4e-5,
                "adam_lr": 2e-3,
                "warmup_steps": 50,
                "b1": 0.95,
                "b2": 0.98,
                "weight_decay": 0.1,
                "clip_norm": 1.0,
            },
            "train": {
                "steps": 1500,
                "log_every": 10,
                "eval_every": 250,
                "checkpoint_every": 250,
            },
        }
    )
