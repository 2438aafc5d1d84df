"""StyleGAN2-ADA at 32x32 pixels on emoji of two vendors: R1 and paths' lengths now and then, styles mixed, augmentation steered.

    python train.py --config=configs/gan/stylegan2_tiny.py --workdir=runs/styles
    python sample.py --workdir=runs/styles --num_samples=64 --truncation=0.7 --out=emoji.png
    python sample.py --workdir=runs/styles --mix=4x6 --mix_layers=0-3 --out=mixed.png
    python sample.py --workdir=runs/styles --num_samples=10 --interpolate --out=film.png

Hardware: two CPU cores, 26 minutes. GENJAX_DATA names the folder that holds emoji.zip. Measured: colors and outlines of emoji,
few that could be named (benchmarks/RESULTS.md).
"""

from ml_collections import ConfigDict
from styles import PATH_LENGTH_EVERY, R1_EVERY, optimizers


def get_config():
    return ConfigDict(
        {
            "seed": 0,
            "task": {
                "name": "gan",
                "network": "stylegan2",
                "model": {"size": "tiny"},
                "objective": "non_saturating",
                "r1": 1.0,
                "r1_every": R1_EVERY,
                "path_length": 2.0,
                "path_length_every": PATH_LENGTH_EVERY,
                "style_mixing": 0.9,
                "ada": {"pipeline": "bgc", "target": 0.6, "kimg": 100.0},
            },
            "data": {
                "name": "images",
                "source": "folders",
                "path": "$GENJAX_DATA/emoji.zip",
                "labels": "none",
                "image_size": 32,
                "batch_size": 32,
            },
            **optimizers(2e-3),
            "ema": {"decays": (0.998,), "include": ("generator/*",), "rampup": 0.05},
            "train": {
                "steps": 4500,
                "log_every": 20,
                "eval_every": 1000,
                "sample_every": 1000,
                "checkpoint_every": 1000,
                "keep_every": 1000,
            },
        }
    )
