"""EDM on CIFAR-10, class-conditional: DDPM++ of 55.7M parameters, preconditioned, non-leaky augmentation (Karras et al., 2022).

    python train.py --config=configs/diffusion/edm_cifar10.py --workdir=runs/edm
    python sample.py --workdir=runs/edm --num_samples=100 --out=samples.png

Hardware: an accelerator; 200 million images. Published FID: 1.79, by 35 evaluations (18 steps of Heun's method), on the original
pictures. Not yet measured here. GENJAX_DATA names the folder that holds cifar10_train.zip.
"""

from ml_collections import ConfigDict


def get_config():
    return ConfigDict(
        {
            "seed": 0,
            "task": {
                "name": "diffusion",
                "model": {"size": "ddpmpp_cifar10"},
                "label_dropout": 0.0,
                "augment": 0.12,
                "process": {
                    "schedule": "edm",
                    "prediction": "edm",
                    "weighting": "edm",
                    "drawn": "log_normal",
                    "time_scale": 1.0,
                },
                "sampling": {"sampler": "heun", "steps": 18, "clip": False},
            },
            "data": {
                "name": "images",
                "path": "$GENJAX_DATA/cifar10_train.zip",
                "classes": ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
                "image_size": 32,
                "batch_size": 512,
            },
            # 10 million images of warmup; the average forgets half in 0.5 million.
            "optimizer": {"name": "adam", "schedule": "constant", "peak_lr": 1e-3, "warmup_steps": 19_532},
            "ema": {"decays": (0.99929,)},
            "train": {
                "steps": 390_625,
                "log_every": 100,
                "eval_every": 5000,
                "eval_batches": 10,
                "sample_every": 5000,
                "checkpoint_every": 5000,
                "keep_every": 25_000,
            },
        }
    )
