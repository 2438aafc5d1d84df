"""A discrete VAE (as DALL-E's) on Fashion-MNIST: 7x7 codes of 256, chosen by Gumbel noise that cools.

    python train.py --config=configs/autoencoder/dvae_fashion_mnist.py --workdir=runs/dvae_fashion_mnist
    python sample.py --workdir=runs/dvae_fashion_mnist --image=pictures --beside --codes --out=back

Hardware: two CPU cores, at most half an hour; GENJAX_DATA names the folder that holds fashion_mnist/. Measured:
24.0 dB of the test images, all codes in use (benchmarks/RESULTS.md).
"""

from first_stage import FASHION_MNIST, discrete_vae


def get_config():
    return discrete_vae(FASHION_MNIST, codes=256)
