"""Measures a model of images and texts by what it finds among the pictures and names that its run held out.

python -m genjax.sampling.retrieval --workdir=runs/emoji --out=found

DIR gets summary.json (recall at 1, 5 and 10 each way, beside what chance would reach) and retrieval.png, pictures with the names
and, where the data hold two pictures of each thing, the other pictures that lie nearest.
"""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, UInt8
from tqdm import tqdm

from genjax import data
from genjax.commands import command_parser, exit_code
from genjax.data.image_texts import ImageTextRows
from genjax.errors import RequestError
from genjax.evaluation.retrieval import KS, own_ranks, recalls
from genjax.parallel import processes
from genjax.sampling.charts import chart
from genjax.sampling.run import open_run, read_config
from genjax.sampling.summaries import write_json
from genjax.tasks.contract import Variables
from genjax.tasks.embedding_requests import EmbeddingSampling
from genjax.tasks.image_batches import normalize

EXAMPLES, NEAREST = 8, 5  # rows and columns of the picture
NAMES = {"image": "images", "second_image": "second images", "tokens": "texts"}


def parser() -> argparse.ArgumentParser:
    result = command_parser("genjax.sampling.retrieval", __doc__)
    result.add_argument("--workdir", required=True, help="a run directory of train.py, of the task contrastive")
    result.add_argument("--checkpoint", type=int, help="the step (default: the newest)")
    result.add_argument("--out", required=True, metavar="DIR", help="a folder for summary.json and retrieval.png")
    return result


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Measures, writes the files, says the figures, and returns the content of summary.json.

    Raises:
        GenjaxError: anything that the person at the keyboard can mend.
    """
    processes.initialize()
    config = read_config(Path(options.workdir))
    task, variables = open_run(options.workdir, options.checkpoint)
    if not isinstance(task, EmbeddingSampling):
        raise RequestError(f"{options.workdir} is a run of the task {config['task'].get('name')!r}, which embeds no images.")
    held_out = data.build(config["data"], seed=config.get("seed", 0), cache_dir=Path(options.workdir) / "data").evaluation
    if held_out is None:
        raise RequestError(f"{options.workdir} holds nothing out: its data.evaluation_fraction is 0.")
    rows = held_out.batches.rows
    columns = rows.fetch(np.zeros(rows.num_rows, np.int64), np.arange(rows.num_rows))
    found = embed(task, variables, columns, held_out.batch_size)
    summary = {"rows": rows.num_rows, "chance": {f"recall@{k}": min(k / rows.num_rows, 1.0) for k in KS}, **measure(found)}
    if processes.is_main():
        folder = Path(options.out)
        write_json(folder / "summary.json", summary)
        draw(folder / "retrieval.png", columns, found, rows)
        print(f"{summary['rows']:,} held-out rows; chance: " + _figures(summary["chance"]))
        for name, values in summary.items():
            if " to " in name:
                print(f"{name}: {_figures(values)}")
        print(f"wrote {folder}")
    return summary


def embed(
    task: EmbeddingSampling, variables: Variables, columns: Mapping[str, np.ndarray], batch_size: int
) -> dict[str, Float[np.ndarray, "rows embedding"]]:
    """Embeddings of the images, second images and texts of rows, whichever there are."""

    @jax.jit
    def images(variables, batch):
        return task.encode_images(variables, normalize(batch, task.preprocessor))

    texts = jax.jit(task.encode_texts)
    found = {}
    for name in (name for name in NAMES if name in columns):
        encode, values = texts if name == "tokens" else images, columns[name]
        parts = []
        for start in tqdm(range(0, len(values), batch_size), desc=NAMES[name], unit="batch", disable=None, delay=2):
            part = values[start : start + batch_size]
            full = np.zeros((batch_size, *values.shape[1:]), values.dtype)  # one shape to compile
            full[: len(part)] = part
            parts.append(np.asarray(encode(variables, full))[: len(part)])
        found[name] = np.concatenate(parts)
    return found


def measure(found: Mapping[str, Float[np.ndarray, "rows embedding"]]) -> dict[str, dict[str, float]]:
    """Recalls of every kind of query among every other kind, where row i of one belongs to row i of the other."""
    return {
        f"{NAMES[query]} to {NAMES[key]}": recalls(own_ranks(found[query], found[key]))
        for query in found
        for key in found
        if query != key
    }


def draw(
    file: Path,
    columns: Mapping[str, UInt8[np.ndarray, "..."]],
    found: Mapping[str, Float[np.ndarray, "rows embedding"]],
    rows: ImageTextRows,
) -> None:
    """Some images, evenly taken, each with the names nearest to it (the own one in bold) and the nearest second images."""
    chosen = np.unique(np.linspace(0, rows.num_rows - 1, EXAMPLES).astype(int))
    pairs = "second_image" in found
    size = (4.2 + 1.1 * NEAREST * pairs, 1.25 * len(chosen))
    with chart(file, len(chosen), 2 + NEAREST * pairs, size) as axes:
        for row, own in zip(axes, chosen, strict=True):
            for axis in row:
                axis.set_axis_off()
            row[0].imshow(columns["image"][own].squeeze())
            for place, text in enumerate(_nearest(found["image"][own], found["tokens"])):
                weight = "bold" if text == own else "normal"
                row[1].text(-0.1, 0.9 - 0.2 * place, rows.things[text].texts[0][:40], weight=weight, fontsize=7)
            if pairs:
                for axis, other in zip(row[2:], _nearest(found["image"][own], found["second_image"]), strict=False):
                    axis.imshow(columns["second_image"][other].squeeze())
                    if other == own:
                        axis.set_title("own", fontsize=7, pad=1)


def _nearest(query: Float[np.ndarray, " embedding"], keys: Float[np.ndarray, "rows embedding"]) -> np.ndarray:
    return np.argsort(-(keys @ query), kind="stable")[:NEAREST]


def main(arguments: list[str]) -> int:
    options = parser().parse_args(arguments)
    return exit_code(lambda: run(options))


def _figures(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.1%}" if "@" in name else f"{name} {value:g}" for name, value in values.items())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
