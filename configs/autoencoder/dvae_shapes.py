"""The discrete VAE of DALL-E on drawn shapes: 8x8 codes of 512, chosen by Gumbel noise that cools; logit-Laplace pixels.

    python train.py --config=configs/autoencoder/dvae_shapes.py --workdir=runs/dvae_shapes
    python sample.py --workdir=runs/dvae_shapes --image=pictures --beside --codes --out=back

Hardware: two CPU cores, at most half an hour. Not yet measured.
"""

from first_stage import SHAPES, recipe


def get_config():
    return recipe(
        SHAPES,
        {"name": "gumbel", "codes": 512, "width": 32},
        pixels="logit_laplace",
        kl=1.0,
        kl_steps=500,
        temperature_steps=1000,
    )
