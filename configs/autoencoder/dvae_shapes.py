"""A discrete VAE (as DALL-E's) on drawn shapes: 8x8 codes of 512, chosen by Gumbel noise that cools.

    python train.py --config=configs/autoencoder/dvae_shapes.py --workdir=runs/dvae_shapes
    python sample.py --workdir=runs/dvae_shapes --image=pictures --beside --codes --out=back

Hardware: two CPU cores, at most half an hour. Not yet measured.
"""

from first_stage import SHAPES, discrete_vae


def get_config():
    return discrete_vae(SHAPES, codes=512)
