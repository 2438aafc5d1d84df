"""Asks a run of task visual_language its held-out questions, and counts the answers that match.

python -m genjax.sampling.question_evaluation --workdir=runs/vqa --out=answers

DIR gets answers.jsonl (image, question, answer, prediction) and summary.json: exact match of normalized answers, over all
questions and by answer.
"""

import argparse
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

from genjax.commands import command_parser, exit_code
from genjax.data.image_questions import held_out_sayings
from genjax.errors import RequestError
from genjax.evaluation.vqa import exact_match, normalize_answer
from genjax.parallel import processes
from genjax.sampling.loop import Sampler
from genjax.sampling.run import read_config, run_task, run_variables
from genjax.sampling.summaries import new_folder, write_json, write_jsonl


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Asks, writes the files, says the figure, and returns the content of summary.json.

    Raises:
        GenjaxError: anything that the person at the keyboard can mend.
    """
    folder, workdir = new_folder(options.out), Path(options.workdir)
    processes.initialize()
    section = read_config(workdir)["data"]
    if section.get("name") != "image_questions" or section.get("layout", "questions") != "questions":
        raise RequestError(f"{workdir} was not trained on questions about images (data.name 'image_questions').")
    asked = held_out_sayings(section)[: options.limit or None]
    if not asked:
        raise RequestError(f"{workdir} holds out no questions; train with data.evaluation_fraction above 0.")
    task = run_task(workdir)
    variables = run_variables(workdir, task, options.checkpoint)
    requests = [
        task.request_type(image=image, prompt=saying.question, max_new_tokens=options.max_new_tokens) for saying, image in asked
    ]
    artifacts = Sampler(task)(variables, requests, progress=True)
    rows = [
        {"image": saying.image, "question": saying.question, "answer": saying.answer, "prediction": artifact.value.strip()}
        for (saying, _), artifact in zip(asked, artifacts, strict=True)
    ]
    summary = summarize(rows)
    if processes.is_main():
        write_jsonl(folder / "answers.jsonl", rows)
        write_json(folder / "summary.json", summary)
        print(f"exact match {summary['exact_match']:.2%} of {summary['questions']:,} held-out questions; see {options.out}")
    return summary


def summarize(rows: list[dict[str, str]]) -> dict[str, Any]:
    """Exact match over all rows, and by their answers, the frequent first."""
    groups: dict[str, list[dict[str, str]]] = defaultdict(list)
    for row in rows:
        groups[normalize_answer(row["answer"])].append(row)
    score = lambda part: exact_match([row["prediction"] for row in part], [row["answer"] for row in part])  # noqa: E731
    by_answer = {
        answer: {"questions": len(part), "exact_match": score(part)}
        for answer, part in sorted(groups.items(), key=lambda item: -len(item[1]))
    }
    return {"questions": len(rows), "exact_match": score(rows), "by_answer": by_answer}


def main(arguments: list[str]) -> int:
    parser = command_parser("genjax.sampling.question_evaluation", __doc__)
    parser.add_argument("--workdir", required=True, help="a run directory of train.py")
    parser.add_argument("--out", required=True, metavar="DIR", help="a new folder")
    parser.add_argument("--checkpoint", type=int, help="the step (default: the newest)")
    parser.add_argument("--limit", type=int, default=0, help="only the first so many questions (default: all)")
    parser.add_argument("--max_new_tokens", type=int, default=8, help="of an answer (default 8)")
    options = parser.parse_args(arguments)
    return exit_code(lambda: run(options))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
