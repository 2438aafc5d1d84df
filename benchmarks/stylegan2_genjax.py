"""Our side of benchmarks/stylegan2.py: the parts of genjax's own train step, and its sampler, as a worker."""

import argparse
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax.core import meta
from stylegan2_torch import BATCHES, SIZES, TRUNCATION, inputs
from train_step import compiled_step

from ab import serve
from genjax.adversarial import penalties
from genjax.config import load_file
from genjax.parallel.processes import leave_out_absent_tpu
from genjax.sampling import Sampler
from genjax.tasks import gan_weights
from genjax.training.run_config import structure_run
from genjax.training.setup import Plan, make_plan
from genjax.training.step import Part, parts_of

RECIPE = Path(__file__).resolve().parent.parent / "configs" / "gan" / "stylegan2_ffhq1024.py"


def plan_of(size: str, batch: int) -> Plan:
    """The recipe of FFHQ at another size, in float32."""
    run = load_file(RECIPE)
    run["task"]["model"] = {"size": size}
    run["data"] |= {"image_size": SIZES[size].pixels, "batch_size": batch}
    run |= {"train": {"steps": 10}, "mesh": {"data": 1}}
    return make_plan(structure_run(run), devices=jax.devices()[:1], with_data=False)


def save_weights(folder: Path, size: str) -> None:
    """Random ones, each network of the size that it begins with; none is 0, as biases and the strength of noise would be."""
    players, rng = plan_of(size, BATCHES["step"]).task.players, np.random.default_rng(2)

    def draw(path, leaf):
        name = jax.tree_util.keystr(path)
        scale = (100 if "mapping" in name else 1) if "kernel" in name or "const" in name else 0.1
        return np.asarray(scale * rng.normal(size=leaf.shape), np.float32)

    shapes = meta.unbox(jax.eval_shape(players.init, jax.random.key(0)))
    gan_weights.save(players, folder, jax.tree_util.tree_map_with_path(draw, shapes))


def outputs(folder: Path, size: str, count: int = 2) -> tuple[dict[str, jax.Array], np.ndarray]:
    """What is compared, and the direction that paths' lengths are taken along; see `stylegan2_torch.outputs`."""
    players, key = plan_of(size, BATCHES["step"]).task.players, jax.random.key(3)
    given = inputs(size, count)

    @jax.jit
    def run(variables, z, image):
        real = image.astype(jnp.float32) / 127.5 - 1
        styles, _ = players.styles(variables, z, None, train=False)
        synthesize = lambda styles: players.synthesize(variables, styles, None)  # noqa: E731
        judge = lambda images: players.judge(variables, images, None, train=False)[0]  # noqa: E731
        return {
            "images": synthesize(styles),
            "logits": judge(real),
            "slopes": penalties.squared_slopes(judge, real),
            "lengths": penalties.path_lengths(synthesize, styles, key),
        }

    return run(gan_weights.load(players, folder), given["z"], given["image"]), jax.random.normal(key, given["image"].shape)


def parts_for(plan: Plan, kind: str) -> list[Part]:
    """Of the step, as the loop runs them: those of every step, or a lazy penalty."""
    return [part for part in parts_of(plan.task.turns) if (part.every == 1 if kind == "step" else kind in part.turns)]


def train_step(kind: str, size: str, batch: int):
    """(step, seconds to compile)."""
    plan, zeros = plan_of(size, batch), np.zeros(batch, np.int32)
    values = {"image": inputs(size, batch)["image"], "label": zeros, "mask": zeros + 1}
    return compiled_step(plan, values, parts_for(plan, kind))


def sample_step(size: str, batch: int, folder: Path):
    task = plan_of(size, batch).task
    variables, sampler = gan_weights.load(task.players, folder), Sampler(task)
    wish = task.request_type(num_samples=batch, truncation=TRUNCATION)
    began = time.perf_counter()
    sampler(variables, [wish])
    return lambda: sampler(variables, [wish]), time.perf_counter() - began


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=list(BATCHES))
    parser.add_argument("--weights", required=True)
    parser.add_argument("--size", choices=list(SIZES), required=True)
    parser.add_argument("--batch", type=int, required=True)
    options = parser.parse_args()
    leave_out_absent_tpu()
    if options.kind == "generate":
        step, seconds = sample_step(options.size, options.batch, Path(options.weights))
    else:
        step, seconds = train_step(options.kind, options.size, options.batch)
    for _ in range(2):
        step()
    serve(step, facts={"compile_s": round(seconds, 1)})
