"""Class-conditional diffusion on Fashion-MNIST: EDM's process and preconditioning, a small U-Net of three levels.

    python train.py --config=configs/diffusion/fashion_mnist.py --workdir=runs/clothes
    python sample.py --workdir=runs/clothes --num_samples=100 --guidance=1.5 --out=clothes.png
    python sample.py --workdir=runs/clothes --label="Ankle boot" --num_samples=4 --trajectory=8 --out=boots.png
    python benchmarks/diffusion_edits.py --workdir=runs/clothes --judge=runs/fashion_mnist --out=edits

Hardware: two CPU cores, an hour. GENJAX_DATA names the folder that holds fashion_mnist/. Measured: a classifier of the real
images agrees with the asked class of 93.4 % of samples (benchmarks/RESULTS.md).
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
                    "drawn_mean": -0.8,
                    "stratified": True,
                    "sigma_data": 0.7,
                    "sigma_min": 0.01,
                },
                "sampling": {"sampler": "dpm++_2m", "steps": 20, "guidance": 1.5, "clip": False},
            },
            "data": {
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
            },
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
                "steps": 3600,
                "log_every": 20,
                "eval_every": 600,
                "eval_batches": 16,
                "sample_every": 600,
                "checkpoint_every": 600,
                "keep_every": 600,
            },
        }
    )
