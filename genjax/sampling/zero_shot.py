"""Classifies images by the names of their classes alone, with a model of images and texts that was never trained on them.

python -m genjax.sampling.zero_shot --weights=clip_b32 --images=cifar10.zip --template="a photo of a {}." --out=zero_shot.json
python -m genjax.sampling.zero_shot --workdir=runs/emoji --images=pictures --classes=cat,dog,house --out=zero_shot.json

The images lie in folders that their classes name. A class is the mean of the texts that it makes with every template.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

from genjax import data, tasks
from genjax.commands import command_parser, exit_code
from genjax.data.text_rows import text_rows
from genjax.errors import RequestError
from genjax.evaluation.zero_shot import class_weights, fill, top_k_accuracy
from genjax.parallel import processes
from genjax.sampling.retrieval import embed
from genjax.sampling.run import open_run
from genjax.sampling.summaries import write_json
from genjax.tasks.embedding_requests import EmbeddingSampling

KS = (1, 5)


def parser() -> argparse.ArgumentParser:
    result = command_parser("genjax.sampling.zero_shot", __doc__)
    result.add_argument("--workdir", help="a run directory of train.py, of the task contrastive")
    result.add_argument("--weights", help="a folder of published weights of CLIP or SigLIP")
    result.add_argument("--checkpoint", type=int, help="with --workdir: the step (default: the newest)")
    result.add_argument("--images", required=True, metavar="PATH", help="a folder or an archive with a folder for each class")
    result.add_argument(
        "--classes", default="", help="what texts call the classes, in the folders' sorted order (default: alike)"
    )
    result.add_argument("--template", action="append", default=[], help="what the names stand in, with {} (repeatable)")
    result.add_argument("--batch_size", type=int, default=64, help="images at a time (default 64)")
    result.add_argument("--out", required=True, metavar="FILE", help="the figures, as JSON")
    return result


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Measures, writes the file, says the figures, and returns its content.

    Raises:
        GenjaxError: anything that the person at the keyboard can mend.
    """
    if bool(options.workdir) == bool(options.weights):
        raise RequestError("name one model: --workdir RUN for a run of train.py, or --weights DIR for published weights.")
    if missing := [template for template in options.template if "{}" not in template]:
        raise RequestError(f"the template {missing[0]!r} has no place for a name; write {{}} there.")
    if options.batch_size < 1:
        raise RequestError(f"--batch_size is {options.batch_size}; it must be at least 1.")
    processes.initialize()
    if options.workdir:
        task, variables = open_run(options.workdir, options.checkpoint)
    else:
        task, variables = tasks.open_weights(options.weights)
    if not isinstance(task, EmbeddingSampling):
        raise RequestError(f"{options.workdir or options.weights} embeds no images and texts; use a CLIP or a SigLIP.")
    p = task.preprocessor
    section = {"name": "images", "path": options.images, "image_size": p.height, "fit": p.fit, "channels": task.info.channels}
    rows = data.build(section | {"evaluation_fraction": 0.0}, seed=0, cache_dir=None).train
    folders = rows.info.classes
    names = tuple(name.strip() for name in options.classes.split(",")) if options.classes else folders
    if len(names) != len(folders):
        raise RequestError(f"--classes has {len(names)} names for {len(folders)} folders: {', '.join(folders)}.")
    images = rows.batches.rows
    columns = images.fetch(np.zeros(images.num_rows, np.int64), np.arange(images.num_rows))
    tokens = text_rows(task.tokenizer, fill(names, options.template), task.info.context_length, task.info.canonical)
    found = embed(task, variables, {"image": columns["image"], "tokens": tokens}, options.batch_size)
    weights = class_weights(found["tokens"], len(names))
    summary = {
        "images": images.num_rows,
        "classes": list(names),
        "templates": list(options.template),
        "chance": 1 / len(names),
        **{f"top_{k}": top_k_accuracy(found["image"], weights, columns["label"], k) for k in KS if k < len(names)},
    }
    if processes.is_main():
        write_json(Path(options.out), summary)
        figures = ", ".join(f"{name} {summary[name]:.1%}" for name in (*(f"top_{k}" for k in KS), "chance") if name in summary)
        print(f"{summary['images']:,} images of {len(summary['classes'])} classes: {figures}")
    return summary


def main(arguments: list[str]) -> int:
    options = parser().parse_args(arguments)
    return exit_code(lambda: run(options))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
