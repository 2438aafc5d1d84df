"""Progressive growing on Fashion-MNIST: images of 4x4, then 8x8, 16x16 and 32x32 pixels, each faded in over the last.

    python train.py --config=configs/gan/progressive_fashion_mnist.py --workdir=runs/progressive
    python sample.py --workdir=runs/progressive --num_samples=100 --out=clothes.png

Samples on the way are of the resolution that the run has come to, enlarged. Each fades in over 64,000 images and stays for as
many, a ninth of what the paper shows: 32x32 begins at step 5,000.

Hardware: two CPU cores, at most half an hour. GENJAX_DATA names the folder that holds fashion_mnist/. Not yet measured.
"""

from clothes import recipe


def get_config():
    task = {
        "network": "progressive",
        "model": {"latent": 64, "channel_base": 256, "channel_max": 32},
        "growth": {"first_size": 4, "fade_images": 64_000, "stay_images": 64_000},
        "objective": "wasserstein",
        "gradient_penalty": 10.0,
        "drift": 0.001,
    }
    return recipe(task, steps=7000, adam={"peak_lr": 1e-3, "b1": 0.0, "b2": 0.99})
