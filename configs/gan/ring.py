"""Eight Gaussians in a ring by WGAN-GP: the smallest run of a GAN, in which one can count what the generator has forgotten.

    python train.py --config=configs/gan/ring.py --workdir=runs/ring
    python sample.py --workdir=runs/ring --num_samples=2000 --out=ring.png
    python train.py --config=configs/gan/ring.py --workdir=runs/collapsed --config.task.objective=minimax \
        --config.task.gradient_penalty=0 --config.task.critic_steps=1

Hardware: one CPU core, a minute.
"""

from mixtures import recipe


def get_config():
    task = {"objective": "wasserstein", "critic_steps": 5, "gradient_penalty": 0.1}
    return recipe({"arrangement": "ring", "modes": 8}, task, steps=3000)
