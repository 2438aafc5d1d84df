"""Measures a model that answers sources with texts: a translator, a summarizer, a transcriber.

python -m genjax.sampling.text_evaluation --workdir=runs/en_de --num_beams=4 --out=eval
python -m genjax.sampling.text_evaluation --workdir=runs/digits --metrics=wer,cer,exact --out=eval

The run's held-out sources are answered with the likeliest texts. DIR gets hypotheses.jsonl (a line for each source) and
summary.json.
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from genjax.commands import command_parser, exit_code
from genjax.config import choose
from genjax.data.references import Reference, references
from genjax.errors import RequestError
from genjax.evaluation.rouge import rouge_scores
from genjax.evaluation.translation import translation_scores
from genjax.evaluation.word_error import character_error_rate, word_error_rate
from genjax.parallel import processes
from genjax.sampling.loop import Sampler
from genjax.sampling.run import newest_checkpoint, parse_mesh, read_config, run_task, run_variables
from genjax.sampling.summaries import write_json, write_jsonl

Scores = Mapping[str, float | str]
AT_ONCE = 256  # sources that are answered between two movements of the progress bar


def exact_match(hypotheses: Sequence[str], references: Sequence[str]) -> float:
    """The share of texts that are the reference, white space at the ends left out."""
    return sum(a.strip() == b.strip() for a, b in zip(hypotheses, references, strict=True)) / max(len(references), 1)


METRICS: Mapping[str, Callable[[Sequence[str], Sequence[str]], Scores]] = {
    "translation": translation_scores,  # BLEU and chrF
    "rouge": rouge_scores,
    "wer": lambda texts, expected: {"word_error_rate": word_error_rate(texts, expected)},
    "cer": lambda texts, expected: {"character_error_rate": character_error_rate(texts, expected)},
    "exact": lambda texts, expected: {"exact_match": exact_match(texts, expected)},
}
USUAL = {"line_pairs": "translation", "speech": "wer,cer,exact"}  # by `data.name`


def parser() -> argparse.ArgumentParser:
    result = command_parser("genjax.sampling.text_evaluation", __doc__)
    result.add_argument("--workdir", required=True, help="a run directory of train.py")
    result.add_argument("--checkpoint", type=int, help="the step (default: the newest)")
    result.add_argument("--out", required=True, metavar="DIR", help="a folder for hypotheses and summary")
    result.add_argument("--limit", type=int, default=0, metavar="N", help="answer the first N held-out sources (default: all)")
    result.add_argument(
        "--metrics", default="", help=f"of {', '.join(METRICS)}, with commas (default: those that the data suggest)"
    )
    result.add_argument("--num_beams", type=int, default=1, help="beam search with so many beams (default 1: greedily)")
    result.add_argument("--length_penalty", type=float, default=1.0, help="of beam search (default 1)")
    result.add_argument(
        "--max_new_tokens", type=int, default=0, help="of a text (default: what a row of the training data holds)"
    )
    result.add_argument("--mesh", default="", help="devices along each axis, such as data=1,tensor=4 (default: one device)")
    result.add_argument("--dtype", choices=("float32", "bfloat16"), help="of the computation (default: as trained)")
    result.add_argument("--overwrite", action="store_true", help="replace hypotheses and summary that DIR has")
    return result


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Does what the options ask for; returns the summary.

    Raises:
        GenjaxError: anything that the person at the keyboard can mend, before anything is sampled where that is possible.
    """
    processes.initialize()
    workdir, folder = Path(options.workdir), Path(options.out)
    section = read_config(workdir)["data"]
    metrics = [name for name in (options.metrics or USUAL.get(section.get("name"), "wer")).split(",") if name]
    for name in metrics:
        choose("--metrics", name, METRICS)(["a"], ["a"])  # what it needs is missing now or never
    files = folder / "hypotheses.jsonl", folder / "summary.json"
    if taken := [file for file in files if file.exists() and not options.overwrite]:
        raise RequestError(f"{taken[0]} exists; choose another --out, or add --overwrite to replace it.")
    wanted = list(references(section))
    wanted = wanted[: options.limit] if options.limit > 0 else wanted
    if not wanted:
        raise RequestError(f"{workdir} held nothing out; train with data.evaluation_fraction, or with files to evaluate on.")
    mesh = parse_mesh(options.mesh)
    task = run_task(workdir, dtype=options.dtype)
    checkpoint = newest_checkpoint(workdir) if options.checkpoint is None else options.checkpoint
    variables = run_variables(workdir, task, checkpoint, mesh=mesh)
    beams = {"num_beams": options.num_beams, "length_penalty": options.length_penalty}
    knobs = {**(beams if options.num_beams > 1 else {"temperature": 0.0}), "max_new_tokens": options.max_new_tokens}
    texts = _answers(Sampler(task, mesh=mesh), variables, wanted, knobs)
    values: dict[str, Any] = {"run": str(workdir), "checkpoint": checkpoint, **knobs, "texts": len(texts)}
    for name in metrics:
        values |= METRICS[name](texts, [reference.text for reference in wanted])
    if processes.is_main():
        pairs = zip(wanted, texts, strict=True)
        write_jsonl(files[0], ({**reference.request, "reference": reference.text, "text": text} for reference, text in pairs))
        write_json(files[1], values)
        print(
            "\n".join(f"{key}: {value:.4f}" if isinstance(value, float) else f"{key}: {value}" for key, value in values.items())
        )
    return values


def _answers(sampler: Sampler, variables: Any, wanted: Sequence[Reference], knobs: Mapping[str, Any]) -> list[str]:
    """The likeliest text for each source. Sources of like length are answered together."""
    order = sorted(range(len(wanted)), key=lambda i: len(str(next(iter(wanted[i].request.values())))))
    texts = [""] * len(wanted)
    with tqdm(total=len(wanted), desc="answering", unit=" sources", disable=None if processes.is_main() else True) as bar:
        for start in range(0, len(order), AT_ONCE):
            group = order[start : start + AT_ONCE]
            requests = [sampler.task.request_type(**wanted[i].request, **knobs) for i in group]
            for i, artifact in zip(group, sampler(variables, requests), strict=True):
                texts[i] = artifact.value
            bar.update(len(group))
    return texts


def main(arguments: list[str]) -> int:
    options = parser().parse_args(arguments)
    return exit_code(lambda: run(options))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
