"""pix2pix: photographs of facades from maps of their parts, at 64x64 pixels.

    python train.py --config=configs/gan/pix2pix_facades.py --workdir=runs/facades
    python sample.py --workdir=runs/facades --image=maps --beside --out=facades

Hardware: two CPU cores, ten minutes. GENJAX_DATA names the folder that holds facades.zip. Measured: 0.33 from held-out
photographs, the maps themselves 0.78 (benchmarks/RESULTS.md).
"""

from translation import recipe


def get_config():
    task = {
        "method": "pix2pix",
        "generator": {"levels": 6, "width": 32},
        "discriminator": {"layers": 2, "width": 32, "norm": "batch"},
    }
    data = {
        "path": "$GENJAX_DATA/facades.zip",
        "train": "train",
        "evaluation": "val",
        "image_size": 72,
        "crop": 64,
        "augmentation": {"flip": True},
        "batch_size": 4,
    }
    return recipe(task, data, steps=4000, every=1000)
