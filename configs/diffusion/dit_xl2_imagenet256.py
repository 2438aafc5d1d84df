"""DiT-XL/2 on ImageNet at 256x256, in latents of 32x32x4 (Peebles and Xie, 2023): 675M parameters, learned variances.

    python train.py --config=configs/diffusion/dit_xl2_imagenet256.py --compile_only --topology=v5e:16x16
    python train.py --config=configs/diffusion/dit_xl2_imagenet256.py --workdir=runs/dit

Compiled for a v5e:16x16 slice on a CPU machine (benchmarks/RESULTS.md). Published FID: 2.27 with guidance 1.5, after 7 million
steps of 256 latents. Not trained here. LATENTS names a folder with latents.npy and labels.npy, of Stable Diffusion's autoencoder.
"""

from ml_collections import ConfigDict


def get_config():
    return ConfigDict(
        {
            "seed": 0,
            "task": {
                "name": "diffusion",
                "network": "dit",
                "model": {"size": "dit_xl2", "dtype": "bfloat16", "scan_layers": True, "remat": "full"},
                "process": {"schedule": "linear", "prediction": "epsilon", "variance": "learned"},
                "sampling": {"sampler": "ddpm", "steps": 250, "guidance": 1.5, "clip": False},
            },
            "data": {
                "name": "latents",
                "path": "$LATENTS",
                "size": (32, 32, 4),
                "classes": tuple(map(str, range(1000))),
                "scale": 0.18215,
                "batch_size": 256,
            },
            "optimizer": {"name": "adamw", "schedule": "constant", "peak_lr": 1e-4},
            "ema": {"decays": (0.9999,)},
            "train": {
                "steps": 7_000_000,
                "log_every": 100,
                "eval_every": 10_000,
                "eval_batches": 10,
                "checkpoint_every": 5000,
                "keep_every": 50_000,
            },
        }
    )
