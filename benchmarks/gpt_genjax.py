"""Our side of benchmarks/gpt.py: the same weights through genjax's own train step and sampler, as a worker."""

import argparse
import dataclasses
import time
from pathlib import Path

import jax
import numpy as np
from train_step import compiled_step

from ab import serve
from genjax import decoding, tasks
from genjax.interop import huggingface
from genjax.parallel.processes import leave_out_absent_tpu
from genjax.training.run_config import structure_run
from genjax.training.setup import make_plan

parser = argparse.ArgumentParser()
parser.add_argument("work", choices=["train", "decode"])
parser.add_argument("--weights", required=True)
parser.add_argument("--batch", type=int, required=True)
parser.add_argument("--length", type=int, required=True)
parser.add_argument("--new_tokens", type=int, default=128)
parser.add_argument("--bfloat16", action="store_true")
parser.add_argument("--scan", action="store_true")
parser.add_argument("--remat", default="none")
parser.add_argument("--repeat", type=int, default=1)
options = parser.parse_args()

leave_out_absent_tpu()
_, network = huggingface.read_config(options.weights)
dtype = "bfloat16" if options.bfloat16 else "float32"
rng = np.random.default_rng(1)

if options.work == "train":
    model = {"dtype": dtype, "scan_layers": options.scan, "remat": options.remat}
    section = {f.name: getattr(network, f.name) for f in dataclasses.fields(network)} | model
    plan = make_plan(
        structure_run(
            {
                "task": {"name": "language_model", "model": section},
                "data": {"name": "text", "batch_size": options.batch, "sequence_length": options.length},
                "optimizer": {"peak_lr": 1e-4, "schedule": "constant", "weight_decay": 0.1},
                "train": {"steps": 10, "init_from": options.weights},
                "mesh": {"data": 1},
            }
        ),
        devices=jax.devices()[:1],
        with_data=False,
    )
    tokens = rng.integers(0, network.vocab_size, (options.batch, options.length + 1)).astype(np.int32)
    ones = np.ones((options.batch, options.length), np.int32)
    positions = np.arange(options.length, dtype=np.int32)[None].repeat(options.batch, 0)
    batch = {
        "tokens": tokens[:, :-1],
        "targets": tokens[:, 1:],
        "segment_ids": ones,
        "positions": positions,
        "loss_mask": ones,
    }
    step, compile_seconds = compiled_step(plan, batch)
else:
    task, variables = tasks.open_weights(Path(options.weights), dtype=dtype)
    variables = task.sampling_variables(variables)
    prompts = [rng.integers(0, network.vocab_size, options.length).tolist() for _ in range(options.batch)]
    wish = task.request_type(max_new_tokens=options.new_tokens, temperature=0.0, ignore_eos=True)
    (batch,) = decoding.make_batches(prompts, [wish] * options.batch, context_length=network.context_length)
    began = time.perf_counter()
    sample = jax.jit(task.sample).lower(variables, batch, jax.random.key(0)).compile()
    compile_seconds = time.perf_counter() - began

    def step() -> None:
        jax.block_until_ready(sample(variables, batch, jax.random.key(0)))


for _ in range(2):
    step()
serve(step, repeat=options.repeat, facts={"compile_s": round(compile_seconds, 1)})
