"""VQGAN on Fashion-MNIST: the VQ-VAE of vqvae_fashion_mnist.py, with the features of a classifier and a discriminator of patches.

    python train.py --config=configs/vit/fashion_mnist.py --workdir=runs/fashion_mnist
    python train.py --config=configs/autoencoder/vqgan_fashion_mnist.py --workdir=runs/vqgan_fashion_mnist
    python sample.py --workdir=runs/vqgan_fashion_mnist --image=pictures --beside --codes --out=back

Hardware: two CPU cores, 20 minutes; GENJAX_DATA names the folder that holds fashion_mnist/. Measured: 23.6 dB of the test images,
all codes in use; features a third nearer to the images' than the VQ-VAE's, and patterns that it smooths away
(benchmarks/RESULTS.md).
"""

from first_stage import FASHION_MNIST, vqgan


def get_config():
    return vqgan(FASHION_MNIST, {"name": "vector", "codes": 256, "width": 32, "restart": 0.1}, features="runs/fashion_mnist")
