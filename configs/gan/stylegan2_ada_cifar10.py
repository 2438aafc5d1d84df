"""StyleGAN2-ADA on CIFAR-10, class-conditional, as tuned for it (Karras et al., 2020, "limited data"): players of 41M parameters.

    python train.py --config=configs/gan/stylegan2_ada_cifar10.py --workdir=runs/cifar10
    python sample.py --workdir=runs/cifar10 --num_samples=100 --out=samples.png

Hardware: an accelerator; 100 million images. Published FID: 2.42 with classes, 2.92 without (task.conditional=False), the best
snapshot of a run. Not yet measured here. GENJAX_DATA names the folder that holds cifar10_train.zip.
"""

from ml_collections import ConfigDict
from styles import R1_EVERY, forgets_half_in, optimizers

BATCH_SIZE = 64


def get_config():
    return ConfigDict(
        {
            "seed": 0,
            "task": {
                "name": "gan",
                "network": "stylegan2",
                "model": {"size": "cifar"},
                "conditional": True,
                "objective": "non_saturating",
                "r1": 0.01,
                "r1_every": R1_EVERY,
                "ada": {"pipeline": "bgc", "target": 0.6, "kimg": 500.0},
            },
            "data": {
                "name": "images",
                "path": "$GENJAX_DATA/cifar10_train.zip",
                "classes": ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
                "image_size": 32,
                "evaluation_fraction": 0.0,
                "batch_size": BATCH_SIZE,
            },
            # The public code corrects the generator's Adam for a penalty on paths' lengths that it leaves out here.
            **optimizers(2.5e-3),
            "ema": {"decays": (forgets_half_in(500_000, BATCH_SIZE),), "include": ("generator/*",), "rampup": 0.05},
            "train": {
                "steps": 1_562_500,
                "log_every": 100,
                "sample_every": 10_000,
                "checkpoint_every": 10_000,
                "keep_every": 50_000,
            },
        }
    )
