"""A small ViT on Fashion-MNIST: patches of 4x4 in images of 28x28, 6 layers, 96 wide, 0.7M parameters.

    python train.py --config=configs/vit/fashion_mnist.py --workdir=runs/fashion_mnist
    python sample.py --workdir=runs/fashion_mnist --image=shirt.png

Hardware: two CPU cores, half an hour to an hour. GENJAX_DATA names the folder that holds fashion_mnist/. Measured: 91.4 % of the
10,000 test images (held out accuracy in the log; benchmarks/RESULTS.md).
"""

from ml_collections import ConfigDict


def get_config():
    return ConfigDict(
        {
            "seed": 0,
            "task": {
                "name": "classification",
                "model": {
                    "patch_size": 4,
                    "num_layers": 6,
                    "num_heads": 3,
                    "embed_dim": 96,
                    "mlp_dim": 384,
                    "norm_epsilon": 1e-6,
                },
                "label_smoothing": 0.1,
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
                "augmentation": {"flip": True, "pad": 2},
                "batch_size": 128,
            },
            "optimizer": {
                "name": "muon",
                "schedule": "warmup_cosine",
                "peak_lr": 4e-3,
                "end_lr": 4e-5,
                "adam_lr": 3e-3,
                "warmup_steps": 100,
                "b1": 0.95,
                "b2": 0.98,
                "weight_decay": 0.1,
                "clip_norm": 1.0,
            },
            "train": {
                "steps": 3750,
                "log_every": 25,
                "eval_every": 938,
                "checkpoint_every": 938,
            },
        }
    )
