"""VQ-VAE on Fashion-MNIST: 7x7 codes of 256, each a moving mean of what it stands for; codes that fall out of use begin again.

    python train.py --config=configs/autoencoder/vqvae_fashion_mnist.py --workdir=runs/vqvae_fashion_mnist
    python sample.py --workdir=runs/vqvae_fashion_mnist --image=pictures --beside --codes --out=back

Hardware: two CPU cores, 10 minutes; GENJAX_DATA names the folder that holds fashion_mnist/. Measured: 24.5 dB of the test images,
all codes in use (benchmarks/RESULTS.md).
"""

from first_stage import FASHION_MNIST, recipe


def get_config():
    return recipe(FASHION_MNIST, {"name": "vector", "codes": 256, "width": 32, "restart": 0.1})
