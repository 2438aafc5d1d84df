"""Our side of benchmarks/diffusion.py: the same weights through genjax's own train step and sampler, as a worker."""

import argparse
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from diffusion_torch import BATCHES, SIZE, STEPS, inputs
from train_step import compiled_step

from ab import serve
from genjax import tasks
from genjax.config import plain
from genjax.interop import huggingface
from genjax.models.unet import UNet
from genjax.parallel.compiler import compiler_options
from genjax.parallel.processes import leave_out_absent_tpu
from genjax.sampling import Sampler
from genjax.training.run_config import structure_run
from genjax.training.setup import make_plan

OPTIMIZER = {"name": "adamw", "peak_lr": 1e-4, "schedule": "constant", "weight_decay": 0.01}
# Fields that a run takes from its data and the rest of its task.
FOLLOWS = ("dimensions", "in_channels", "out_channels", "num_classes", "null_class", "condition_features")


def outputs(folder: Path) -> np.ndarray:
    """The network's output, to be compared with theirs."""
    _, config = huggingface.read_config(folder)
    given = inputs(1)
    return np.asarray(jax.jit(UNet(config).apply)({"params": huggingface.load(folder)}, given["image"], given["times"]))


def forward_step(folder: Path, batch: int):
    _, config = huggingface.read_config(folder)
    variables, given = {"params": huggingface.load(folder)}, inputs(batch)
    image, times = jnp.asarray(given["image"]), jnp.asarray(given["times"])
    began = time.perf_counter()
    apply = jax.jit(UNet(config).apply, compiler_options=compiler_options()).lower(variables, image, times).compile()
    return lambda: jax.block_until_ready(apply(variables, image, times)), time.perf_counter() - began


def train_step(folder: Path, batch: int):
    """(step, seconds to compile): the whole step of a run, noise and levels drawn within."""
    _, config = huggingface.read_config(folder)
    model = {name: value for name, value in plain(config).items() if name not in FOLLOWS}
    run = {
        "task": {"name": "diffusion", "model": model},
        "data": {"name": "images", "image_size": SIZE, "batch_size": batch},
        "optimizer": OPTIMIZER,
        "train": {"steps": 10},
        "mesh": {"data": 1},
    }
    plan = make_plan(structure_run(run), devices=jax.devices()[:1], with_data=False)
    pixels = ((inputs(batch)["image"] + 1) * 127.5).astype(np.uint8)
    values = {"image": pixels, "label": np.zeros(batch, np.int32), "mask": np.ones(batch, np.int32)}
    return compiled_step(plan, values)


def sample_step(folder: Path, batch: int):
    task, variables = tasks.open_weights(folder)
    sampler = Sampler(task)
    wish = task.request_type(num_samples=batch, sampler="ddim", steps=STEPS)
    began = time.perf_counter()
    sampler(variables, [wish])
    return lambda: sampler(variables, [wish]), time.perf_counter() - began


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=list(BATCHES))
    parser.add_argument("--weights", required=True)
    parser.add_argument("--batch", type=int, required=True)
    options = parser.parse_args()
    leave_out_absent_tpu()
    make = {"forward": forward_step, "train": train_step, "sample": sample_step}[options.kind]
    step, seconds = make(Path(options.weights), options.batch)
    for _ in range(2):
        step()
    serve(step, facts={"compile_s": round(seconds, 1)})
