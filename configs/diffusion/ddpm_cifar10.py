"""DDPM on CIFAR-10, unconditional (Ho et al., 2020): 35.7M parameters, linear schedule of 1,000 steps.

    python train.py --config=configs/diffusion/ddpm_cifar10.py --workdir=runs/ddpm
    python sample.py --workdir=runs/ddpm --num_samples=64 --out=samples.png

Hardware: an accelerator; 800,000 steps of 128 images. Published FID: 3.17, by 1,000 steps of ancestral sampling. Not yet measured
here. GENJAX_DATA names the folder that holds cifar10_train.zip.
"""

from ml_collections import ConfigDict


def get_config():
    return ConfigDict(
        {
            "seed": 0,
            "task": {
                "name": "diffusion",
                "model": {"size": "ddpm_cifar10"},
                "conditional": False,
                "process": {"schedule": "linear", "prediction": "epsilon", "variance": "large"},
                "sampling": {"sampler": "ddpm", "steps": 1000},
            },
            "data": {
                "name": "images",
                "path": "$GENJAX_DATA/cifar10_train.zip",
                "image_size": 32,
                "augmentation": {"flip": True},
                "batch_size": 128,
            },
            "optimizer": {"name": "adam", "schedule": "constant", "peak_lr": 2e-4, "warmup_steps": 5000, "clip_norm": 1.0},
            "ema": {"decays": (0.9999,)},
            "train": {
                "steps": 800_000,
                "log_every": 100,
                "eval_every": 10_000,
                "eval_batches": 20,
                "sample_every": 10_000,
                "checkpoint_every": 5000,
                "keep_every": 50_000,
            },
        }
    )
