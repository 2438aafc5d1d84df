"""ADM on ImageNet at 64x64, class-conditional (Dhariwal and Nichol, 2021): 296M parameters, cosine schedule, learned variances.

    python train.py --config=configs/diffusion/adm_imagenet64.py --compile_only --topology=v5e:16x16
    python train.py --config=configs/diffusion/adm_imagenet64.py --workdir=runs/adm

Compiled for a v5e:16x16 slice on a CPU machine (benchmarks/RESULTS.md). Published FID: 2.61, by 250 steps without guidance, after
540,000 steps of 2,048 images. Not trained here. IMAGENET names a folder of class folders.
"""

from ml_collections import ConfigDict


def get_config():
    return ConfigDict(
        {
            "seed": 0,
            "task": {
                "name": "diffusion",
                "model": {"size": "adm_imagenet64", "dtype": "bfloat16", "remat": True},
                "label_dropout": 0.0,
                "process": {"schedule": "cosine", "prediction": "epsilon", "variance": "learned"},
                "sampling": {"sampler": "ddpm", "steps": 250},
            },
            "data": {
                "name": "images",
                "path": "$IMAGENET",
                "classes": tuple(f"{number:04d}" for number in range(1000)),
                "image_size": 64,
                "augmentation": {"flip": True},
                "batch_size": 2048,
            },
            "optimizer": {"name": "adamw", "schedule": "constant", "peak_lr": 3e-4, "weight_decay": 0.05},
            "ema": {"decays": (0.9999,)},
            "train": {
                "steps": 540_000,
                "log_every": 100,
                "eval_every": 10_000,
                "eval_batches": 10,
                "checkpoint_every": 5000,
                "keep_every": 50_000,
            },
        }
    )
