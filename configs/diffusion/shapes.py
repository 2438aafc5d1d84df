"""Drawn shapes from their attributes: one group of colored shapes, told color, shape, count, size and place; embedded data.

    python train.py --config=configs/diffusion/shapes.py --workdir=runs/shapes
    python sample.py --workdir=runs/shapes --label=color=red --label=shape=circle --num_samples=16 --out=red.png
    python -m genjax.sampling.sample_evaluation --workdir=runs/shapes --samples=1000 --out=measured

Hardware: two CPU cores, an hour; no data needed. Measured: 95.1 % of attributes right, read from the pictures by code
(benchmarks/RESULTS.md).
"""

from ml_collections import ConfigDict


def get_config():
    return ConfigDict(
        {
            "seed": 0,
            "task": {
                "name": "diffusion",
                "model": {"widths": (32, 64, 96), "blocks": 1, "groups": 8, "attention_levels": (2,)},
                "process": {
                    "schedule": "edm",
                    "prediction": "edm",
                    "weighting": "edm",
                    "drawn": "log_normal",
                    "drawn_mean": -0.4,
                    "drawn_std": 1.4,
                    "stratified": True,
                    "sigma_data": 0.5,
                    "sigma_min": 0.01,
                },
                "sampling": {"sampler": "dpm++_2m", "steps": 20, "guidance": 2.0, "clip": False},
            },
            "data": {"name": "shapes", "image_size": 32, "num_images": 50_000, "batch_size": 64},
            "optimizer": {
                "name": "adam",
                "schedule": "warmup_cosine",
                "peak_lr": 2e-3,
                "end_lr": 1e-5,
                "warmup_steps": 200,
                "b2": 0.99,
                "clip_norm": 1.0,
            },
            "ema": {"decays": (0.999,)},
            "train": {
                "steps": 2600,
                "log_every": 20,
                "eval_every": 650,
                "eval_batches": 16,
                "sample_every": 650,
                "checkpoint_every": 650,
                "keep_every": 650,
            },
        }
    )
