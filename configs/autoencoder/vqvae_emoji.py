"""VQ-VAE on emoji of two vendors at 64x64 pixels: 16x16 codes of 512.

    python train.py --config=configs/autoencoder/vqvae_emoji.py --workdir=runs/vqvae_emoji
    python sample.py --workdir=runs/vqvae_emoji --image=pictures --beside --codes --out=back

Hardware: two CPU cores, at most three quarters of an hour; GENJAX_DATA names the folder that holds emoji.zip. Measured: 28.7 dB
of held-out emoji, all codes in use (benchmarks/RESULTS.md).
"""

from first_stage import EMOJI, recipe


def get_config():
    return recipe(EMOJI, {"name": "vector", "codes": 512, "width": 32, "restart": 0.1}, steps=2000)
