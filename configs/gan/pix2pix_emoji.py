"""pix2pix: one vendor's drawing of an emoji from another's.

    python train.py --config=configs/gan/pix2pix_emoji.py --workdir=runs/redrawn
    python sample.py --workdir=runs/redrawn --image=emoji.png --beside --out=redrawn.png

Hardware: two CPU cores, ten minutes. GENJAX_DATA names the folder that holds emoji.zip. Measured: 0.298 from held-out pictures,
the other vendor's own 0.345 (benchmarks/RESULTS.md).
"""

from translation import EMOJI, recipe


def get_config():
    task = {
        "method": "pix2pix",
        "generator": {"levels": 6, "width": 32},
        "discriminator": {"layers": 2, "width": 32, "norm": "batch"},
    }
    data = {**EMOJI, "layout": "folders", "image_size": 64, "batch_size": 4}
    return recipe(task, data, steps=5000, every=1000)
