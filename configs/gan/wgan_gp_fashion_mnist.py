"""WGAN-GP on Fashion-MNIST: residual players without norm in the critic, whose slope a penalty holds to 1.

    python train.py --config=configs/gan/wgan_gp_fashion_mnist.py --workdir=runs/wgan_gp
    python sample.py --workdir=runs/wgan_gp --num_samples=100 --out=clothes.png

Hardware: two CPU cores, 25 minutes. GENJAX_DATA names the folder that holds fashion_mnist/. Measured: FID 15.8 by the features of
configs/vit/fashion_mnist.py (untrained 189), 9.4 of 10 classes, still falling (benchmarks/RESULTS.md).
"""

from clothes import recipe


def get_config():
    model = {
        "widths": (64, 64, 64, 64),
        "critic_widths": (32, 64, 64),
        "halvings": 3,
        "critic_norm": "none",
        "pooling": "mean",
    }
    task = {
        "network": "sngan",
        "model": model,
        "objective": "wasserstein",
        "critic_steps": 5,
        "gradient_penalty": 10.0,
    }
    return recipe(task, steps=3400, adam={"peak_lr": 2e-4, "b1": 0.0, "b2": 0.9})
