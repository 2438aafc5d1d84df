"""Measures what a run draws for texts that it was not trained on.

python -m genjax.sampling.prompt_evaluation --workdir=runs/dalle_shapes --out=measured
python -m genjax.sampling.prompt_evaluation --workdir=runs/dalle_shapes --captions=seen --candidates=16 --out=ranked
python -m genjax.sampling.prompt_evaluation --workdir=runs/dalle_shapes --sweep=1,2,3,5 --out=traded
python -m genjax.sampling.prompt_evaluation --workdir=runs/dalle_emoji --clip=runs/emoji --out=measured

Of drawn shapes code reads from each picture how much of its caption is there: `alignment`, the same of each attribute, and
`alignment_whole`, everything. With --clip, a contrastive run compares pictures with their own captions and with other ones, and
the data's own pictures too (`data_...`). `diversity` is how far apart two pictures of one caption lie, as a share of the distance
of two captions' pictures. DIR gets summary.json, samples.png and, with --sweep, tradeoff.png. Further options are those of the
run's requests, such as --guidance, --temperature and --candidates.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from genjax.commands import command_parser, exit_code
from genjax.data.dataset import Dataset
from genjax.data.sources import shapes
from genjax.data.sources.shape_captions import parse
from genjax.data.text_rows import text_rows
from genjax.errors import DataError, RequestError
from genjax.evaluation.images.collection import collect
from genjax.evaluation.images.frechet import frechet_distance
from genjax.parallel import processes
from genjax.sampling import writers
from genjax.sampling.charts import chart
from genjax.sampling.judges import feature_network, stacked
from genjax.sampling.loop import Sampler
from genjax.sampling.measuring import images_of, own_data
from genjax.sampling.requests import make_requests, parse_options
from genjax.sampling.run import newest_checkpoint, read_config, run_task, run_variables
from genjax.sampling.summaries import new_folder, write_json
from genjax.tasks.contract import Artifact
from genjax.tasks.contrastive import Contrastive
from genjax.tasks.dalle import DALLETask

SHOWN = 64  # pictures that are shown
_PAIRS = 20_000  # of pictures of different captions, whose distances are averaged


def parser() -> argparse.ArgumentParser:
    result = command_parser("genjax.sampling.prompt_evaluation", __doc__)
    result.add_argument("--workdir", required=True, help="a run directory of train.py, of task dalle")
    result.add_argument("--out", required=True, metavar="DIR", help="a new folder")
    result.add_argument("--checkpoint", type=int, default=None, help="a step (default: the newest)")
    result.add_argument(
        "--captions",
        choices=("held_out", "seen"),
        default="held_out",
        help="of what was held out, or of training (default held_out)",
    )
    result.add_argument("--count", type=int, default=250, metavar="N", help="captions (default 250)")
    result.add_argument("--each", type=int, default=2, metavar="N", help="pictures of each (default 2)")
    result.add_argument("--sweep", default="", metavar="1,2,3", help="scales of guidance, each of which is measured")
    result.add_argument(
        "--clip", default="", metavar="RUN", help="a run of task contrastive that compares pictures with captions"
    )
    result.add_argument(
        "--features", default="", metavar="RUN", help="FID by the features of a run of task classification or contrastive"
    )
    result.add_argument("--seed", type=int, default=0, help="of the samples (default 0)")
    return result


def run(options: argparse.Namespace, rest: Sequence[str]) -> list[dict[str, Any]]:
    """Draws, measures, writes; returns the content of summary.json.

    Raises:
        GenjaxError: anything that the person at the keyboard can mend.
    """
    folder, workdir = new_folder(options.out), Path(options.workdir)
    if options.count < 2 or options.each < 1:
        raise RequestError("--count must be 2 or more, and --each 1 or more.")
    processes.initialize()
    task = run_task(workdir)
    if not isinstance(task, DALLETask):
        raise RequestError(f"{workdir} is no run of task 'dalle'.")
    common = parse_options(task.request_type, rest, others=list(vars(options))) | {"num_samples": options.each}
    scales = _scales(options.sweep)
    asked_for, real = captions_of(read_config(workdir), workdir, options)
    captions = list(asked_for)
    judge = _Judge(options.clip) if options.clip else None
    network = feature_network(options.features) if options.features else None
    seen = collect(network, images_of(real)) if network else None
    of_data = {f"data_{name}": value for name, value in judge(pictures_of(real, asked_for), captions).items()} if judge else {}
    variables, sampler, rows = run_variables(workdir, task, options.checkpoint), Sampler(task), []
    artifacts: list[Artifact] = []
    for scale in scales:
        asked = common | ({} if scale is None else {"guidance": scale})
        artifacts = sampler(variables, make_requests(task.request_type, asked, captions), seed=options.seed, progress=True)
        images, said = stacked(artifacts), [artifact.metadata["prompt"] for artifact in artifacts]
        figures = alignment(said, images)
        figures |= {"diversity": diversity(images, options.each)} if options.each > 1 else {}
        figures |= judge(images, said) | of_data if judge else {}
        if network and seen:
            figures[f"fid/{network.name}"] = frechet_distance(collect(network, [images]).pool, seen.pool)
        step = options.checkpoint if options.checkpoint is not None else newest_checkpoint(workdir)
        request = {name: value for name, value in artifacts[0].metadata.items() if name not in ("prompt", "sample", "score")}
        row = {
            "checkpoint": step,
            "captions": options.captions,
            "pictures": len(images),
            "request": request | asked,
            "figures": figures,
        }
        rows.append(row)
        if processes.is_main():
            listed = "\n".join(f"  {name}: {value:.4g}" for name, value in figures.items())
            print(f"{len(images):,} pictures of {len(captions):,} captions, {request}\n{listed}", flush=True)
    if processes.is_main():
        write_json(folder / "summary.json", rows)
        writers.write(artifacts[:SHOWN], folder / "samples.png")
        name = measured_by(rows[0]["figures"])
        if len(rows) > 1 and name:
            draw(folder / "tradeoff.png", rows, name)
    return rows


def alignment(captions: Sequence[str], images: UInt8[np.ndarray, "images height width 3"]) -> dict[str, float]:
    """How much of captions of shapes their pictures show, read by code; {} where captions are of something else."""
    from genjax.data.sources import shape_reader  # scipy takes a while to import

    try:
        asked = np.array([shapes.label_of(parse(caption)) for caption in captions])
    except DataError:
        return {}
    found = shape_reader.score(asked, images)
    named = {f"alignment_{name}": value for name, value in found.items() if name != "overall"}
    return {"alignment": found["overall"]} | named


def diversity(images: UInt8[np.ndarray, "images height width 3"], each: int) -> float:
    """The root mean square distance of two pictures of one caption, as a share of that of pictures of two captions.

    Args:
        each: pictures of a caption, which stand side by side.
    """
    x = images.reshape(len(images) // each, each, -1).astype(np.float32)
    within = np.mean([np.square(x[:, i] - x[:, j]).mean() for i in range(each) for j in range(i)])
    first, second = np.random.default_rng(0).integers(0, len(x), (2, _PAIRS))
    apart = first != second
    between = np.mean([np.square(x[i, 0] - x[j, 0]).mean() for i, j in zip(first[apart], second[apart], strict=True)])
    return float(np.sqrt(within / max(between, 1e-9)))


class _Judge:
    """A contrastive run: how near pictures lie to their own captions, and to others'."""

    def __init__(self, workdir: str):
        self.task = run_task(workdir)
        if not isinstance(self.task, Contrastive):
            raise RequestError(f"--clip={workdir} is no run of task 'contrastive'.")
        self.name = f"{Path(workdir).resolve().name}-{newest_checkpoint(workdir)}"
        self.network = feature_network(workdir)

    def __call__(self, images: UInt8[np.ndarray, "images height width 3"], captions: Sequence[str]) -> dict[str, float]:
        """A hundred times the mean cosine to the own caption and to another one's, and how often the own one is the nearer."""
        info = self.task.info
        tokens = text_rows(info.tokenizer, captions, info.context_length, info.canonical)
        texts = np.asarray(self.task.encode_texts(self.network.variables, tokens))
        seen = np.asarray(self.network.features(images).pool)
        own: Float[np.ndarray, " images"] = 100 * (seen * texts).sum(1)
        other = 100 * (seen * np.roll(texts, len(texts) // 2, axis=0)).sum(1)
        return {
            f"clip_score/{self.name}": float(own.mean()),
            f"clip_score_shuffled/{self.name}": float(other.mean()),
            f"own_caption_nearer/{self.name}": float((own > other).mean()),
        }


def captions_of(config: Mapping[str, Any], workdir: Path, options: argparse.Namespace) -> tuple[dict[str, int], Dataset]:
    """The first captions of a run's data, each once (two vendors' emoji of one name share it) with its row, and the data.

    Raises:
        GenjaxError: data that cannot be read, or with fewer than two captions to compare.
    """
    section = config["data"]
    if section["name"] == "captioned_shapes":  # whose pictures are new also where their combinations are not
        section = {**section, "evaluation": options.captions, "evaluation_images": max(options.count, 500)}
        dataset = own_data({**config, "data": section}, workdir, "held_out")
    else:
        dataset = own_data(config, workdir, "held_out" if options.captions == "held_out" else "train")
    rows = dataset.batches.rows
    captions: dict[str, int] = {}
    for row in range(rows.num_rows):
        (caption,) = rows.texts(np.zeros(1, int), np.array([row]))
        captions.setdefault(caption, row)
        if len(captions) == options.count:
            break
    if len(captions) < 2:
        raise RequestError(f"{workdir} has {len(captions)} caption of {options.captions} data; two or more are compared.")
    return captions, dataset


def pictures_of(dataset: Dataset, captions: Mapping[str, int]) -> UInt8[np.ndarray, "captions height width 3"]:
    """The data's own pictures of captions."""
    numbers = np.array(list(captions.values()))
    images = dataset.batches.rows.fetch(np.zeros_like(numbers), numbers)["image"]
    return np.broadcast_to(images, (*images.shape[:3], 3))


def _scales(text: str) -> list[float | None]:
    """Raises RequestError: a list that is none of numbers."""
    try:
        return [float(part) for part in text.split(",")] if text else [None]
    except ValueError as error:
        raise RequestError(f"--sweep={text}: write scales of guidance with commas between, such as 1,2,3.") from error


def measured_by(figures: Mapping[str, float]) -> str:
    """The figure that says most of what is drawn: alignment, else how often the own caption is the nearer, else FID, else ""."""
    return next((name for name in figures if name.split("/")[0] in ("alignment", "own_caption_nearer", "fid")), "")


def draw(file: Path, rows: Sequence[Mapping[str, Any]], name: str) -> None:
    """What guidance gives and takes: the figure of that name over diversity, a point for each scale."""
    across = [row["figures"].get("diversity", number) for number, row in enumerate(rows)]
    with chart(file) as axes:
        axis = axes[0, 0]
        axis.plot(across, [row["figures"][name] for row in rows], marker="o")
        for x, row in zip(across, rows, strict=True):
            place = (x, row["figures"][name])
            label = f"guidance {row['request']['guidance']:g}"
            axis.annotate(label, place, fontsize=8, xytext=(4, 4), textcoords="offset points")
        axis.margins(0.15)
        axis.set_xlabel("diversity of pictures of one caption")
        axis.set_ylabel(name)
        axis.grid(alpha=0.3)


def main(arguments: list[str]) -> int:
    options, rest = parser().parse_known_args(arguments)
    return exit_code(lambda: run(options, rest))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
