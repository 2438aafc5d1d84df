"""Super-resolution by diffusion: clothes of 7x7 pixels to 28x28, the network of fashion_mnist.py told the small image.

    python train.py --config=configs/diffusion/fashion_mnist_super_resolution.py --workdir=runs/sharper
    python sample.py --workdir=runs/sharper --image=small_shirt.png --num_samples=8 --out=shirts.png

Hardware: two CPU cores, at most an hour. GENJAX_DATA names the folder that holds fashion_mnist/. Not yet measured.
"""

from ml_collections import ConfigDict


def get_config():
    return ConfigDict(
        {
            "seed": 0,
            "task": {
                "name": "diffusion",
                "model": {"widths": (32, 64, 96), "blocks": 1, "groups": 8, "attention_levels": (2,)},
                "conditional": False,
                "low_resolution": 4,
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
                "sampling": {"sampler": "dpm++_2m", "steps": 20, "clip": False},
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
                "checkpoint_every": 600,
                "keep_every": 600,
            },
        }
    )
