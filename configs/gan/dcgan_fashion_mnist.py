"""DCGAN on Fashion-MNIST: transposed convolutions and batch norm, the non-saturating objective.

    python train.py --config=configs/gan/dcgan_fashion_mnist.py --workdir=runs/dcgan
    python sample.py --workdir=runs/dcgan --num_samples=100 --out=clothes.png
    python sample.py --workdir=runs/dcgan --num_samples=10 --interpolate --out=film.png

Hardware: two CPU cores, seven to ten minutes. GENJAX_DATA names the folder that holds fashion_mnist/. Measured: FID 6.2 by the
features of configs/vit/fashion_mnist.py (untrained 189), 9.6 of 10 classes (benchmarks/RESULTS.md).
"""

from clothes import recipe


def get_config():
    task = {"network": "dcgan", "model": {"width": 32}}
    return recipe(task, steps=6000, adam={"peak_lr": 2e-4, "b1": 0.5, "b2": 0.999})
