"""Our side of benchmarks/dalle.py: the task's own train step and decoding, as a worker."""

import argparse
import time

import jax
import numpy as np
from dalle import NETWORK, SHAPE
from flax import linen as nn
from train_step import compiled_step

from ab import serve
from genjax import decoding
from genjax.decoding.settings import Settings
from genjax.parallel.processes import leave_out_absent_tpu
from genjax.training.run_config import structure_run
from genjax.training.setup import make_plan

parser = argparse.ArgumentParser()
parser.add_argument("work", choices=["train", "decode"])
parser.add_argument("--batch", type=int, required=True)
parser.add_argument("--repeat", type=int, default=1)
options = parser.parse_args()

leave_out_absent_tpu()
rng = np.random.default_rng(1)
grid = {name: SHAPE[name] for name in ("codes", "rows", "columns")}
plan = make_plan(
    structure_run(
        {
            "task": {"name": "dalle", "model": NETWORK},
            "data": {
                "name": "image_texts",
                "tokenizer": {"name": "wordpiece", "vocab_size": SHAPE["text_vocab"]},
                "context_length": SHAPE["text_length"],
                "codes": {"path": "none", **grid},
                "batch_size": options.batch,
            },
            "optimizer": {"peak_lr": 1e-4, "schedule": "constant", "weight_decay": 0.1},
            "train": {"steps": 10},
            "mesh": {"data": 1},
        }
    ),
    devices=jax.devices()[:1],
    with_data=False,
)
texts = rng.integers(0, SHAPE["text_vocab"], (options.batch, SHAPE["text_length"])).astype(np.int32)

if options.work == "train":
    codes = rng.integers(0, SHAPE["codes"], (options.batch, SHAPE["rows"], SHAPE["columns"])).astype(np.int32)
    batch = {"tokens": texts, "codes": codes, "mask": np.ones(options.batch, np.int32)}
    step, compile_seconds = compiled_step(plan, batch)
else:
    form = plan.task.form.for_decoding()
    variables = plan.task.sampling_variables(nn.unbox(jax.jit(plan.task.init)(jax.random.key(0))))
    starts, _ = form.prompts(texts, np.ones(texts.shape, bool))
    wishes = [Settings(max_new_tokens=form.sizes.places, temperature=0.0)] * options.batch
    (batch,) = decoding.make_batches(starts, wishes, context_length=form.limit)

    def draw(variables, batch, key):
        new_cache = lambda prompts, slots: form.new_cache(variables, batch, False, prompts, slots)  # noqa: E731
        return decoding.generate(plan.task._step(variables, None, None), new_cache, batch, key)["output"]

    began = time.perf_counter()
    sample = jax.jit(draw).lower(variables["dalle"], batch, jax.random.key(0)).compile()
    compile_seconds = time.perf_counter() - began

    def step() -> None:
        jax.block_until_ready(sample(variables["dalle"], batch, jax.random.key(0)))


for _ in range(2):
    step()
serve(step, repeat=options.repeat, facts={"compile_s": round(compile_seconds, 1)})
