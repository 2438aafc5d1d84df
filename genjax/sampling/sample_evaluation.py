"""Measures what a run makes: images by their distance from real ones and by what they show, sounds by what is heard.

python -m genjax.sampling.sample_evaluation --workdir=runs/clothes --features=runs/fashion_mnist --out=measured
python -m genjax.sampling.sample_evaluation --workdir=runs/clothes --features=runs/fashion_mnist --checkpoint=all --out=curve
python -m genjax.sampling.sample_evaluation --workdir=runs/edm --inception=pt_inception-2015-12-05-6726825d.pth --out=fid
python -m genjax.sampling.sample_evaluation --workdir=runs/clothes --likelihood=500 --samples=2 --out=bits
python -m genjax.sampling.sample_evaluation --workdir=runs/said --judge=runs/digits --out=heard

DIR gets summary.json (a list of figures for each checkpoint), the samples of the last one as a picture or files and, where there
are several checkpoints, curves.png. Figures bear the name of the network whose features they are of. Further options are those
of the run's requests, such as --steps, --sampler and --guidance.
"""

import argparse
import dataclasses
import functools
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from genjax.commands import command_parser, exit_code
from genjax.data.dataset import Dataset
from genjax.errors import RequestError
from genjax.interop import inception
from genjax.parallel import processes
from genjax.sampling import writers
from genjax.sampling.charts import chart
from genjax.sampling.loop import Sampler
from genjax.sampling.measuring import Measuring, MeasuringConfig, own_data
from genjax.sampling.requests import parse_options
from genjax.sampling.run import read_config, run_task, run_variables
from genjax.sampling.summaries import new_folder, write_json
from genjax.storage.restore import checkpoint_steps
from genjax.tasks.contract import Artifact, Variables
from genjax.tasks.diffusion import Diffusion
from genjax.tasks.diffusion_likelihood import bound_bits, flow_bits

SHOWN = 100  # samples in the picture
ALL = "all"
BOUND_DRAWS = 50  # timesteps of the variational bound for each image


def parser() -> argparse.ArgumentParser:
    result = command_parser("genjax.sampling.sample_evaluation", __doc__)
    result.add_argument("--workdir", required=True, help="a run directory of train.py")
    result.add_argument("--out", required=True, metavar="DIR", help="a new folder")
    result.add_argument("--checkpoint", default="", help="a step, or all that the run keeps (default: the newest)")
    result.add_argument("--samples", type=int, default=2000, metavar="N", help="how many are made (default 2000)")
    result.add_argument(
        "--features",
        default="",
        metavar="RUN",
        help="measure images by the features of a run of task classification or contrastive",
    )
    result.add_argument(
        "--inception", default="", metavar="FILE", help="measure images by the published Inception weights in a file"
    )
    result.add_argument("--inception_sha256", default=inception.SHA256, help="of that file, where it is to be another one")
    result.add_argument(
        "--judge", default="", metavar="RUN", help="a classifier or recognizer that says what samples show (default: --features)"
    )
    result.add_argument("--reference", choices=("train", "held_out"), default="train", help="which real images (default train)")
    result.add_argument("--likelihood", type=int, default=0, metavar="N", help="bits a dimension of N held-out images")
    result.add_argument("--seed", type=int, default=0, help="of the samples (default 0)")
    return result


def run(options: argparse.Namespace, rest: Sequence[str]) -> list[dict[str, Any]]:
    """Samples, measures, writes; returns the content of summary.json.

    Raises:
        GenjaxError: anything that the person at the keyboard can mend.
    """
    folder, workdir = new_folder(options.out), Path(options.workdir)
    processes.initialize()
    task, config = run_task(workdir), read_config(workdir)
    common = parse_options(task.request_type, rest, others=list(vars(options)))
    shared = {field.name for field in dataclasses.fields(MeasuringConfig)} & set(vars(options))
    section = MeasuringConfig(request=common, **{name: getattr(options, name) for name in shared})
    steps = _steps(workdir, options.checkpoint)
    measuring = Measuring(section, task, config, workdir, report=_warn)
    if measuring.idle and not options.likelihood:
        raise RequestError("nothing to measure with: name --features, --inception, --judge or --likelihood.")
    if options.likelihood and not (isinstance(task, Diffusion) and task.medium.column == "image"):
        raise RequestError("--likelihood is for diffusion models of images; leave it out.")
    likely = _Likelihood(task, own_data(config, workdir, "held_out"), options.likelihood) if options.likelihood else None
    sampler, rows, artifacts = Sampler(task), [], []
    for step in steps:
        variables = run_variables(workdir, task, step)
        found = measuring(sampler, variables, progress=True)
        artifacts = found.artifacts
        row: dict[str, Any] = {"checkpoint": step, "samples": len(artifacts), "request": artifacts[0].metadata}
        row["figures"] = dict(found.figures) | (likely(variables) if likely else {})
        row |= {"notes": list(found.notes)} if found.notes else {}
        rows.append(row)
        _say(row)
    if processes.is_main():
        write_json(folder / "summary.json", rows)
        _show(artifacts, folder)
        if len(rows) > 1:
            draw(folder / "curves.png", rows)
    return rows


def _steps(workdir: Path, wish: str) -> list[int]:
    """The checkpoints to measure, the oldest first. Raises RequestError: one that the run does not have."""
    found = sorted(checkpoint_steps(workdir / "checkpoints"))
    if not found:
        raise RequestError(f"{workdir} has no checkpoints; train it first.")
    if wish == ALL:
        return found
    if wish and (not wish.isdecimal() or int(wish) not in found):
        raise RequestError(f"--checkpoint={wish}: {workdir} has {', '.join(map(str, found))}; name one, or all.")
    return [int(wish)] if wish else found[-1:]


class _Likelihood:
    """Bits a dimension of the first `count` images, in whole batches: by the ODE and, for a schedule of betas, by the bound."""

    def __init__(self, task: Diffusion, dataset: Dataset, count: int):
        batches = min(-(-count // dataset.batch_size), dataset.num_batches)
        self.batches = [dataset.batch(number) for number in range(batches)]
        measures = {"bits_by_flow": functools.partial(flow_bits, task)}
        if task.process.config.discrete:
            measures["bits_by_bound"] = functools.partial(bound_bits, task, draws=BOUND_DRAWS)
        self.measures = {name: jax.jit(function) for name, function in measures.items()}

    def __call__(self, variables: Variables) -> dict[str, float]:
        weights = np.concatenate([batch["mask"] for batch in self.batches])
        found = {}
        for name, bits_of in self.measures.items():
            keys = jax.random.split(jax.random.key(0), len(self.batches))
            bits = [np.asarray(bits_of(variables, *pair)) for pair in zip(self.batches, keys, strict=True)]
            found[name] = float(np.average(np.concatenate(bits), weights=weights))
        return found


def _warn(line: str) -> None:
    if processes.is_main():
        print(line, file=sys.stderr, flush=True)


def _say(row: Mapping[str, Any]) -> None:
    for note in row.get("notes", ()):
        _warn(note)
    if processes.is_main():
        figures = "\n".join(f"  {name}: {value:.4g}" for name, value in row["figures"].items())
        print(f"checkpoint {row['checkpoint']}, {row['samples']:,} samples\n{figures}", flush=True)


def _show(artifacts: Sequence[Artifact], folder: Path) -> None:
    images = artifacts[0].kind == "image"
    writers.write(artifacts[: SHOWN if images else 20], folder / ("samples.png" if images else "samples"))


def draw(file: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Each figure over the checkpoints."""
    names = [name for name in rows[0]["figures"] if not name.endswith("_deviation")]
    columns = min(3, len(names))
    lines = -(-len(names) // columns)
    with chart(file, lines, columns, size=(4.2 * columns, 3 * lines)) as axes:
        for axis in axes.flat[len(names) :]:
            axis.set_axis_off()
        for axis, name in zip(axes.flat, names, strict=False):
            axis.plot([row["checkpoint"] for row in rows], [row["figures"][name] for row in rows], marker="o", markersize=3)
            axis.set_title(name.replace("/", "\n"), fontsize=8)
            axis.set_xlabel("step", fontsize=8)
            axis.grid(alpha=0.3)
            low, high = axis.get_ylim()
            axis.set_ylim(min(0, low), high)
        axes[0, 0].figure.tight_layout()


def main(arguments: list[str]) -> int:
    options, rest = parser().parse_known_args(arguments)
    return exit_code(lambda: run(options, rest))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
