"""Measures what an autoencoder gives back of the images that its run held out.

python -m genjax.sampling.reconstruction_evaluation --workdir=runs/vqvae_shapes --features=runs/clip_shapes --out=measured

DIR gets summary.json and reconstructions.png: images, what came back of them, and their codes. PSNR in dB, SSIM, the shares of
codes that are in use and how many are as if equally frequent; sharpness, the edges of what came back over those of the images;
rFID, the Frechet distance between images and what came back, by features that stand in its name; and how far apart those of each
image and what came back of it lie (Zhang et al., 2018, with features of the run that is named).
"""

import argparse
import functools
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from genjax.commands import command_parser, exit_code
from genjax.data.dataset import Dataset
from genjax.errors import RequestError
from genjax.evaluation.images.collection import collect
from genjax.evaluation.images.frechet import frechet_distance
from genjax.parallel import processes
from genjax.parallel.compiler import compiler_options
from genjax.sampling import writers
from genjax.sampling.judges import feature_network
from genjax.sampling.loop import Sampler
from genjax.sampling.measuring import images_of, own_data
from genjax.sampling.run import newest_checkpoint, read_config, run_task, run_variables
from genjax.sampling.summaries import new_folder, write_json
from genjax.tasks.autoencoder import AutoencoderTask
from genjax.tasks.autoencoder_requests import RequestOfData
from genjax.tasks.perceptual import TransformerFeatures, compares_images, distance

SHOWN = 24  # images in the picture


def parser() -> argparse.ArgumentParser:
    result = command_parser("genjax.sampling.reconstruction_evaluation", __doc__)
    result.add_argument("--workdir", required=True, help="a run directory of train.py, of task autoencoder")
    result.add_argument("--out", required=True, metavar="DIR", help="a new folder")
    result.add_argument("--checkpoint", type=int, default=None, help="a step (default: the newest)")
    result.add_argument(
        "--features", default="", metavar="RUN", help="rFID by the features of a run of task classification or contrastive"
    )
    result.add_argument("--reference", choices=("train", "held_out"), default="held_out", help="which images (default held_out)")
    return result


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Measures, writes; returns the content of summary.json.

    Raises:
        GenjaxError: anything that the person at the keyboard can mend.
    """
    folder, workdir = new_folder(options.out), Path(options.workdir)
    processes.initialize()
    task = run_task(workdir)
    if not isinstance(task, AutoencoderTask):
        raise RequestError(f"{workdir} is no run of task 'autoencoder'.")
    variables = run_variables(workdir, task, options.checkpoint)
    network = feature_network(options.features) if options.features else None
    dataset = own_data(read_config(workdir), workdir, options.reference)
    figures = reconstruction_figures(task, variables, dataset)
    if network is not None:
        judge, each = run_task(Path(options.features)), []
        apart = _distance(TransformerFeatures(judge), network.variables) if compares_images(judge) else None
        apply = jax.jit(
            lambda v, images: task.sample(v, {"image": images, "row": np.zeros(len(images))}, None)["value"],
            compiler_options=compiler_options(),
        )

        def back() -> Iterator[np.ndarray]:
            for images in images_of(dataset):
                made = np.broadcast_to(apply(variables, images[..., : task.medium.channels]), images.shape)
                if apart:
                    each.append(apart(images, made))
                yield made

        real, made = collect(network, images_of(dataset)), collect(network, back())
        figures[f"rfid/{network.name}"] = frechet_distance(made.pool, real.pool)
        if apart:
            figures[f"perceptual/{network.name}"] = float(np.concatenate(each).mean())
    summary = {
        "checkpoint": options.checkpoint if options.checkpoint is not None else newest_checkpoint(workdir),
        "images": dataset.batches.rows.num_rows,
        "reference": options.reference,
        "figures": figures,
    }
    if processes.is_main():
        write_json(folder / "summary.json", summary)
        first = next(images_of(dataset))[:SHOWN, ..., : task.medium.channels]
        shown = Sampler(task)(variables, [RequestOfData(beside=True, codes=True, pixels=image) for image in first])
        writers.write(shown, folder / "reconstructions.png")
        listed = "\n".join(f"  {name}: {value:.4g}" for name, value in figures.items())
        print(f"{summary['images']:,} images\n{listed}", flush=True)
    return summary


def _distance(features: TransformerFeatures, variables: Mapping[str, Any]) -> Callable[..., jax.Array]:
    """Of two batches of images with levels of 0 to 255."""
    maps = lambda v, images: features.maps(v, images / 127.5 - 1)  # noqa: E731
    apply = jax.jit(lambda v, first, second: distance(maps(v, first), maps(v, second)), compiler_options=compiler_options())
    return functools.partial(apply, variables[features.component])


def reconstruction_figures(task: AutoencoderTask, variables: Mapping[str, Any], dataset: Dataset) -> dict[str, float]:
    """The task's own figures over one epoch of a dataset."""
    evaluate = jax.jit(task.evaluate, compiler_options=compiler_options())
    totals: dict[str, tuple[Any, float]] = {}
    left = dataset.batches.rows.num_rows
    for batch in dataset.iterate():
        counted = {"image": batch["image"], "mask": (np.arange(dataset.batch_size) < left).astype(np.int32)}
        found = jax.device_get(evaluate(variables, counted, jax.random.key(0)))
        for name, (total, weight) in found.items():
            before = totals.get(name, (0.0, 0.0))
            totals[name] = before[0] + np.asarray(total, np.float64), before[1] + float(weight)
        left -= dataset.batch_size
        if left <= 0:
            break
    means = {name: total / weight for name, (total, weight) in totals.items()}
    return dict(task.summarize({name: mean if np.ndim(mean) else float(mean) for name, mean in means.items()}))


def main(arguments: list[str]) -> int:
    options = parser().parse_args(arguments)
    return exit_code(lambda: run(options))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
