"""Our side of benchmarks/family.py: the same weights through genjax's own train step, sampler and encoders, as a worker."""

import argparse
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from family_torch import BATCHES, BEAMS, LENGTH, NEW, SOURCE, inputs
from train_step import compiled_step

from ab import serve
from genjax import decoding, tasks
from genjax.config import load_file
from genjax.interop import huggingface
from genjax.models.bert import Bert
from genjax.models.clip import CLIP
from genjax.models.encoder_decoder import EncoderDecoder
from genjax.models.vit import ViT
from genjax.parallel.processes import leave_out_absent_tpu
from genjax.training.run_config import structure_run
from genjax.training.setup import make_plan

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
MODEL = {"dtype": "float32", "scan_layers": False, "remat": "none", "dropout": 0.0}
OPTIMIZER = {"name": "adamw", "peak_lr": 1e-4, "schedule": "constant", "weight_decay": 0.01}


def outputs(kind: str, folder: Path) -> list[jax.Array]:
    """What is compared with `family_torch.outputs`."""
    _, config = huggingface.read_config(folder)
    variables, given = {"params": huggingface.load(folder)}, inputs(kind, 1)
    tokens = jnp.asarray(given["tokens"], jnp.int32) if "tokens" in given else None
    if kind == "bert":
        return [jax.jit(Bert(config).apply)(variables, tokens).token_logits]
    if kind == "vit":
        return [jax.jit(ViT(config).apply)(variables, given["pixels"]).logits]
    if kind == "t5":
        return [jax.jit(EncoderDecoder(config).apply)(variables, tokens, tokens[:, :8])]
    model = CLIP(config)
    images = jax.jit(lambda v, x: model.apply(v, x, method="encode_images"))(variables, given["pixels"])
    return [images, jax.jit(lambda v, x: model.apply(v, x, method="encode_texts"))(variables, tokens)]


def plan_of(kind: str, batch: int):
    """The run that trains: BERT's own recipe, on less at a time; a ViT on a thousand classes."""
    if kind == "bert":
        run = load_file(CONFIGS / "bert" / "bert_base.py")
        run["task"]["model"] = run["task"]["model"] | MODEL
        run["data"] = run["data"] | {"batch_size": batch, "sequence_length": LENGTH}
    else:
        classes = tuple(map(str, range(1000)))
        run = {
            "task": {"name": "classification", "model": {"size": "vit_b16"} | MODEL},
            "data": {"name": "images", "image_size": 224, "classes": classes, "batch_size": batch},
        }
    run |= {"optimizer": OPTIMIZER, "train": {"steps": 10}, "mesh": {"data": 1}}
    return make_plan(structure_run(run), devices=jax.devices()[:1], with_data=False)


def train_step(kind: str, batch: int):
    """(step, seconds to compile)."""
    plan, given = plan_of(kind, batch), inputs(kind, batch)
    if kind == "bert":
        tokens, ones = given["tokens"].astype(np.int32), np.ones((batch, LENGTH), np.int32)
        positions = np.arange(LENGTH, dtype=np.int32)[None].repeat(batch, 0)
        values = {"tokens": tokens, "targets": tokens, "segment_ids": ones, "positions": positions, "loss_mask": ones}
    else:
        pixels = (given["pixels"] * 40 + 128).clip(0, 255).astype(np.uint8)
        values = {"image": pixels, "label": given["labels"].astype(np.int32), "mask": np.ones(batch, np.int32)}
    return compiled_step(plan, values)


def sample_step(kind: str, batch: int, weights: Path):
    task, variables = tasks.open_weights(weights)
    variables, given = task.sampling_variables(variables), inputs(kind, batch)
    began = time.perf_counter()
    if kind == "t5":
        wish = task.request_type(max_new_tokens=NEW, num_beams=BEAMS, ignore_eos=True)
        start = [task.model_config.start_id]
        (values,) = decoding.make_batches(
            [start] * batch,
            [wish] * batch,
            context_length=1 + NEW,
            sources=[row.astype(np.int32) for row in given["tokens"]],
            source_length=SOURCE,
        )
        values = {name: value for name, value in values.items() if name != "host"}
        sample = jax.jit(task.sample).lower(variables, values, jax.random.key(0)).compile()
        return lambda: jax.block_until_ready(sample(variables, values, jax.random.key(0))), time.perf_counter() - began
    images, texts = jnp.asarray(given["pixels"]), jnp.asarray(given["tokens"], jnp.int32)
    encode = jax.jit(lambda v, x, y: (task.encode_images(v, x), task.encode_texts(v, y)))
    encode = encode.lower(variables, images, texts).compile()
    return lambda: jax.block_until_ready(encode(variables, images, texts)), time.perf_counter() - began


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=list(BATCHES))
    parser.add_argument("--weights", required=True)
    parser.add_argument("--batch", type=int, required=True)
    options = parser.parse_args()
    leave_out_absent_tpu()
    if options.kind in ("bert", "vit"):
        step, seconds = train_step(options.kind, options.batch)
    else:
        step, seconds = sample_step(options.kind, options.batch, Path(options.weights))
    for _ in range(2):
        step()
    serve(step, facts={"compile_s": round(seconds, 1)})
