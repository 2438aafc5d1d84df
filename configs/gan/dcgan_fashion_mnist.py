"""DCGAN on Fashion-MNIST: transposed convolutions and batch norm, the non-saturating objective.

    python train.py --config=configs/gan/dcgan_fashion_mnist.py --workdir=runs/dcgan
    python sample.py --workdir=runs/dcgan --num_samples=100 --out=clothes.png
    python sample.py --workdir=runs/dcgan --num_samples=10 --interpolate --out=film.png

Hardware: two CPU cores, at most half an hour. GENJAX_DATA names the folder that holds fashion_mnist/. Not yet measured.
"""

from clothes import recipe


def get_config():
    task = {"network": "dcgan", "model": {"width": 32}}
    return recipe(task, steps=6000, adam={"peak_lr": 2e-4, "b1": 0.5, "b2": 0.999})
