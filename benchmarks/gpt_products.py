"""The matrix products of one training step of the GPT-2 124M shape and nothing else, as a worker: forward, input gradient, weight
gradient. With `--side jax` by XLA, with `--side torch` by torch's MKL."""

import argparse

import numpy as np

from ab import serve

LAYERS, WIDTH, VOCAB = 12, 768, 50257

parser = argparse.ArgumentParser()
parser.add_argument("--side", choices=["jax", "torch"], required=True)
parser.add_argument("--rows", type=int, required=True)
options = parser.parse_args()

# (inner, outer, how often) of the kernels
kernels = [(WIDTH, WIDTH, 4 * LAYERS), (WIDTH, 4 * WIDTH, LAYERS), (4 * WIDTH, WIDTH, LAYERS), (WIDTH, VOCAB, 1)]
work = sum(6 * options.rows * inner * outer * times for inner, outer, times in kernels)
rng = np.random.default_rng(0)
draw = lambda *shape: rng.normal(size=shape).astype(np.float32)  # noqa: E731
arrays = [(draw(options.rows, i), draw(i, o), draw(options.rows, o), times) for i, o, times in kernels]

if options.side == "jax":
    import jax

    @jax.jit
    def products(x, kernel, gradient):
        return x @ kernel, gradient @ kernel.T, x.T @ gradient

    inputs = jax.device_put([a[:3] for a in arrays])

    def step() -> None:
        for array, (*_, times) in zip(inputs, arrays, strict=True):
            for _ in range(times):
                jax.block_until_ready(products(*array))

else:
    import torch

    inputs = [[torch.from_numpy(x) for x in a[:3]] for a in arrays]

    def step() -> None:
        for (x, kernel, gradient), (*_, times) in zip(inputs, arrays, strict=True):
            for _ in range(times):
                x @ kernel, gradient @ kernel.T, x.T @ gradient


for _ in range(2):
    step()
serve(step, facts={"gflop": round(work / 1e9)})
