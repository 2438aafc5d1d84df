"""SNGAN on Fashion-MNIST: residual players, the critic's kernels of spectral norm 1, told the classes; the hinge objective.

    python train.py --config=configs/gan/sngan_fashion_mnist.py --workdir=runs/sngan
    python sample.py --workdir=runs/sngan --num_samples=100 --out=clothes.png
    python sample.py --workdir=runs/sngan --num_samples=8 --label="Ankle boot" --out=boots.png

Hardware: two CPU cores, 27 minutes. GENJAX_DATA names the folder that holds fashion_mnist/. Measured: FID 5.2 by the features of
configs/vit/fashion_mnist.py (untrained 189), 9.8 of 10 classes (benchmarks/RESULTS.md).
"""

from clothes import recipe


def get_config():
    model = {"widths": (64, 64, 64, 64), "critic_widths": (32, 64, 64), "halvings": 3}
    task = {"network": "sngan", "model": model, "conditional": True, "objective": "hinge", "critic_steps": 2}
    return recipe(task, steps=3400, adam={"peak_lr": 2e-4, "b1": 0.0, "b2": 0.9})
