"""VQ-VAE on drawn shapes: 8x8 codes of 512, each a moving mean of what it stands for; codes that fall out of use begin again.

    python train.py --config=configs/autoencoder/vqvae_shapes.py --workdir=runs/vqvae_shapes
    python sample.py --workdir=runs/vqvae_shapes --image=pictures --beside --codes --out=back

Hardware: two CPU cores, 7 minutes. Measured: 35.7 dB of held-out images, all codes in use (benchmarks/RESULTS.md).
"""

from first_stage import SHAPES, SHAPES_CODES, recipe


def get_config():
    return recipe(SHAPES, SHAPES_CODES)
