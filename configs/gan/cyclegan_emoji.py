"""CycleGAN: two vendors' emoji turned into each other, without being told which are the same.

    python train.py --config=configs/gan/cyclegan_emoji.py --workdir=runs/cycle
    python sample.py --workdir=runs/cycle --image=emoji.png --beside --out=there.png
    python sample.py --workdir=runs/cycle --image=there.png --reverse --beside --out=back.png

Hardware: two CPU cores, 20 to 25 minutes. GENJAX_DATA names the folder that holds emoji.zip. Measured: 0.310 from
the other vendor's held-out emoji, where copying is 0.334 (benchmarks/RESULTS.md).
"""

from translation import EMOJI, recipe


def get_config():
    task = {
        "method": "cyclegan",
        "network": "resnet",
        "objective": "least_squares",
        "generator": {"width": 16, "blocks": 4},
        "discriminator": {"layers": 2, "width": 32},
    }
    data = {**EMOJI, "layout": "unpaired", "image_size": 32, "batch_size": 4}
    return recipe(task, data, steps=14_000, every=2000)
