"""The discrete VAE of DALL-E on Fashion-MNIST: 7x7 codes of 256, chosen by Gumbel noise that cools; logit-Laplace pixels.

    python train.py --config=configs/autoencoder/dvae_fashion_mnist.py --workdir=runs/dvae_fashion_mnist
    python sample.py --workdir=runs/dvae_fashion_mnist --image=pictures --beside --codes --out=back

Hardware: two CPU cores, at most half an hour; GENJAX_DATA names the folder that holds fashion_mnist/. Not yet measured.
"""

from first_stage import FASHION_MNIST, recipe


def get_config():
    return recipe(
        FASHION_MNIST,
        {"name": "gumbel", "codes": 256, "width": 32},
        pixels="logit_laplace",
        kl=1.0,
        kl_steps=500,
        temperature_steps=1000,
    )
