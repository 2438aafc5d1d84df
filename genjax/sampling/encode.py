"""Computes the codes that a first stage makes of images with texts, once, for runs of task dalle.

python -m genjax.sampling.encode --workdir=runs/vqvae_shapes --out=codes
python -m genjax.sampling.encode --workdir=runs/vqgan --config=configs/dalle/emoji.py --out=codes

The images are those of the run's own data, or of --config's. DIR gets train.npy, evaluation.npy and codes.json;
--config.data.codes.path=DIR then takes the place of encoding in every step.
"""

import argparse
import sys
from pathlib import Path

import jax
import numpy as np
from tqdm import tqdm

from genjax import data
from genjax.commands import command_parser, exit_code
from genjax.config import load_file
from genjax.data.image_codes import PARTS, CodesInfo, plain_section, write_manifest
from genjax.errors import RequestError
from genjax.parallel.compiler import compiler_options
from genjax.sampling.adopted import newest_source
from genjax.sampling.run import read_config, run_task, run_variables
from genjax.sampling.summaries import new_folder, writing
from genjax.tasks.autoencoder import AutoencoderTask

BATCH = 64


def parser() -> argparse.ArgumentParser:
    result = command_parser("genjax.sampling.encode", __doc__)
    result.add_argument("--workdir", required=True, help="a run directory of train.py, of task autoencoder")
    result.add_argument("--config", default="", metavar="FILE", help="a recipe whose data is encoded (default: the run's own)")
    result.add_argument("--out", required=True, metavar="DIR", help="a new folder")
    return result


def run(options: argparse.Namespace) -> None:
    """Encodes and writes.

    Raises:
        GenjaxError: anything that the person at the keyboard can mend.
    """
    folder, workdir = new_folder(options.out), Path(options.workdir)
    task = run_task(workdir)
    if not isinstance(task, AutoencoderTask) or len(task.code_grids) != 1:
        raise RequestError(f"{workdir} is no run of task 'autoencoder' with one grid of codes.")
    section = load_file(Path(options.config))["data"] if options.config else read_config(workdir)["data"]
    datasets = data.build(plain_section(section), seed=0, cache_dir=workdir / "data")
    source = newest_source("workdir", str(workdir))
    variables, grid = run_variables(workdir, task, source.step), task.code_grids[0]
    encode = jax.jit(
        lambda v, images: task.sample(v, {"image": images, "row": np.zeros(len(images))}, None)["codes_0"],
        compiler_options=compiler_options(),
    )
    parts = {}
    for name in PARTS:
        dataset = getattr(datasets, name)
        if dataset is None:
            continue
        rows, found = dataset.batches.rows, []
        for first in tqdm(range(0, rows.num_rows, BATCH), desc=name, unit="batch"):
            numbers = np.arange(first, min(first + BATCH, rows.num_rows))
            images = rows.fetch(np.zeros_like(numbers), numbers)["image"]
            full = np.zeros((BATCH, *images.shape[1:]), np.uint8)  # one shape to compile
            full[: len(images)] = images
            found.append(np.asarray(encode(variables, full))[: len(images)])
        with writing(folder / f"{name}.npy") as file:
            np.save(file, np.concatenate(found).astype(np.uint16 if grid.bottleneck.codes <= 1 << 16 else np.int32))
        parts[name] = dataset.fingerprint
    info = CodesInfo(grid.bottleneck.codes, grid.rows, grid.columns, source.digest)
    with writing(folder / "codes.json"):
        write_manifest(folder, info, parts)
    print(f"wrote {grid} of {' and '.join(parts)} to {folder}: --config.data.codes.path={folder}", flush=True)


def main(arguments: list[str]) -> int:
    options = parser().parse_args(arguments)
    return exit_code(lambda: run(options))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
