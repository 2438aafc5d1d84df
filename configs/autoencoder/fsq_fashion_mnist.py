"""Finite scalar quantization on Fashion-MNIST: 7x7 codes of 8 * 6 * 5, without any codebook.

    python train.py --config=configs/autoencoder/fsq_fashion_mnist.py --workdir=runs/fsq_fashion_mnist
    python sample.py --workdir=runs/fsq_fashion_mnist --image=pictures --beside --codes --out=back

Hardware: two CPU cores, 10 minutes; GENJAX_DATA names the folder that holds fashion_mnist/. Measured: 24.2 dB of the test images,
all codes in use (benchmarks/RESULTS.md).
"""

from first_stage import FASHION_MNIST, recipe


def get_config():
    return recipe(FASHION_MNIST, {"name": "finite_scalar", "levels": (8, 6, 5)})
