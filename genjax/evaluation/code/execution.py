"""Many programs at once, with results in the order of the samples."""

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from tqdm import tqdm

from genjax.errors import RequestError
from genjax.evaluation.code.isolation import Isolation, permit
from genjax.evaluation.code.pass_at_k import mean_pass_at_k
from genjax.evaluation.code.problems import Problem, task_name
from genjax.evaluation.code.sandbox import Limits, Outcome, run_program


@dataclass(frozen=True)
class Evaluation:
    """What became of samples.

    Attributes:
        results: the samples with `result` and `passed` added, in their order.
        pass_at_k: "pass@k" to its mean over problems, in [0, 1].
    """

    results: list[dict[str, Any]]
    pass_at_k: dict[str, float]


def evaluate_samples(
    problems: Mapping[str, Problem],
    samples: Sequence[Mapping[str, Any]],
    ks: Sequence[int] = (1,),
    *,
    limits: Limits | None = None,
    workers: int | None = None,
    leave_out: bool = False,
    progress: bool = False,
    allow_execution: bool = False,
    force: bool = False,
    isolation: Isolation | None = None,
) -> Evaluation:
    """Runs every sample against its problem's tests.

    Args:
        problems: by task_id; each counts, so each needs samples.
        samples: `task_id` and `completion`; other fields are kept.
        ks: which pass@k.
        limits: of each program.
        workers: programs at once; by default one for each core.
        leave_out: leave out each k that some problem has too few samples for, instead of raising.
        progress: show a bar.
        allow_execution, force, isolation: see `run_program`.

    Raises:
        RequestError: a sample of no problem, or fewer samples than k; raised before anything runs.
        RunError: execution is not allowed, or this machine cannot provide what is required.
    """
    check_counts(problems, samples, ks, leave_out)
    if isolation is None or not allow_execution:
        isolation = permit(allow_execution, force)
    pairs = [(problems[task_name(sample["task_id"])], sample["completion"]) for sample in samples]
    outcomes = run_all(pairs, isolation, limits=limits, workers=workers, progress=progress)
    passed = defaultdict(list)
    for sample, outcome in zip(samples, outcomes, strict=True):
        passed[task_name(sample["task_id"])].append(outcome.passed)
    results = [{**s, "result": o.result, "passed": o.passed} for s, o in zip(samples, outcomes, strict=True)]
    return Evaluation(results, mean_pass_at_k({task_id: passed[task_id] for task_id in problems}, ks, leave_out))


def check_counts(
    problems: Mapping[str, Problem], samples: Sequence[Mapping[str, Any]], ks: Sequence[int], leave_out: bool = False
) -> None:
    """Raises RequestError for a sample of no problem, or fewer samples than k."""
    counts: dict[str, list[bool]] = {task_id: [] for task_id in problems}
    for sample in samples:
        if task_name(sample["task_id"]) not in counts:
            raise RequestError(f"a sample has the task_id {sample['task_id']!r}, which is none of the {len(problems)} problems.")
        counts[task_name(sample["task_id"])].append(False)
    mean_pass_at_k(counts, ks, leave_out)


def run_all(
    pairs: Sequence[tuple[Problem, str]],
    isolation: Isolation,
    *,
    limits: Limits | None = None,
    workers: int | None = None,
    progress: bool = False,
) -> list[Outcome]:
    """The outcome of each (problem, completion), in their order. `isolation` is from `permit`.

    Raises:
        RequestError: fewer than one worker.
    """
    workers = len(os.sched_getaffinity(0)) if workers is None else workers
    if workers < 1:
        raise RequestError(f"workers is {workers}; at least 1 program runs at a time.")

    def run(pair: tuple[Problem, str]) -> Outcome:
        return run_completion(*pair, limits=limits, isolation=isolation)

    # Threads only wait here: each program has processes of its own.
    executor = ThreadPoolExecutor(workers)
    try:
        return list(tqdm(executor.map(run, pairs), total=len(pairs), unit="program", disable=not progress))
    finally:
        executor.shutdown(cancel_futures=True)


def run_completion(problem: Problem, completion: str, *, isolation: Isolation, limits: Limits | None = None) -> Outcome:
    """The outcome of one completion. `isolation` is from `permit`."""
    return run_program(
        problem.solution(completion),
        limits,
        test=problem.test,
        setup=problem.setup,
        given=problem.given,
        exports=problem.exports,
        allow_execution=True,
        isolation=isolation,
    )
