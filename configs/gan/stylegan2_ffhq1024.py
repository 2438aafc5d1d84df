"""StyleGAN2, configuration F, at 1024x1024 pixels (Karras et al., 2020): 59M parameters of both players.

    python train.py --config=configs/gan/stylegan2_ffhq1024.py --compile_only --topology=v5e:4x4
    python train.py --config=configs/gan/stylegan2_ffhq1024.py --workdir=runs/faces
    python sample.py --workdir=runs/faces --num_samples=16 --truncation=0.7 --out=faces.png

Compiled for a v5e:4x4 slice on a CPU machine (benchmarks/RESULTS.md). Published FID: 2.84, after 25 million images, in float32;
here the four highest resolutions compute in bfloat16, as in float16 in later public code. Not trained here. FFHQ names a folder
or an archive of images of 1024x1024; data.source=tfds reads a dataset of your own.
"""

from ml_collections import ConfigDict
from styles import PATH_LENGTH_EVERY, R1_EVERY, forgets_half_in, optimizers

BATCH_SIZE = 32


def get_config():
    return ConfigDict(
        {
            "seed": 0,
            "task": {
                "name": "gan",
                "network": "stylegan2",
                "model": {"size": "stylegan2", "dtype": "bfloat16"},
                "objective": "non_saturating",
                "r1": 10.0,
                "r1_every": R1_EVERY,
                "path_length": 2.0,
                "path_length_every": PATH_LENGTH_EVERY,
                "style_mixing": 0.9,
            },
            "data": {
                "name": "images",
                "path": "$FFHQ",
                "labels": "none",
                "image_size": 1024,
                "augmentation": {"flip": True},
                "evaluation_fraction": 0.0,
                "batch_size": BATCH_SIZE,
            },
            **optimizers(2e-3),
            "ema": {"decays": (forgets_half_in(10_000, BATCH_SIZE),), "include": ("generator/*",), "warmup": False},
            "train": {
                "steps": 781_250,
                "log_every": 100,
                "sample_every": 5000,
                "checkpoint_every": 5000,
                "keep_every": 25_000,
            },
        }
    )
