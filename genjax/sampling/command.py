"""What sample.py does once its arguments are read."""

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from genjax import tasks
from genjax.errors import RequestError
from genjax.parallel import processes
from genjax.parallel.rules import DEFAULT_RULES
from genjax.sampling import findings, writers
from genjax.sampling.loop import Sampler
from genjax.sampling.requests import help_text, make_requests, parse_options
from genjax.sampling.run import parse_mesh, run_task, run_variables
from genjax.tasks.contract import Variables


def run(options: argparse.Namespace, rest: Sequence[str], usage: str) -> None:
    """Opens the model, samples, and writes to the file or the terminal.

    Args:
        options: of sample.py.
        rest: its left-over arguments, the options of the model's requests.
        usage: sample.py's help, to be printed before that of the model.

    Raises:
        GenjaxError: anything that the person at the keyboard can mend.
    """
    processes.initialize()
    if options.out and options.stream:
        raise RequestError("--stream shows the text in the terminal, --out writes it to a file; choose one.")
    if options.attention:
        if options.out or options.stream:
            raise RequestError("--attention writes a picture and no samples; leave --out and --stream out, or run twice.")
        from genjax.sampling.attention_picture import check_picture, write_picture  # matplotlib takes a while to import

        check_picture(options.attention, overwrite=options.overwrite)
    if options.ema is not None and options.ema_std is not None:
        raise RequestError("--ema names an average by its decay, --ema_std one by its relative width; choose one.")
    if options.weights and not (options.ema is None and options.ema_std is None):
        raise RequestError("--ema and --ema_std choose among the averages of a run; leave them out with --weights.")
    mesh = parse_mesh(options.mesh)
    if options.workdir:
        task = run_task(options.workdir, dtype=options.dtype)
    else:
        task = tasks.weights_task(options.weights, dtype=options.dtype or "float32")
    if options.help:
        print(f"{usage}\noptions of this model:\n{help_text(task.request_type)}")
        return
    if options.out:
        writers.check_target(options.out, task.makes, overwrite=options.overwrite)
    elif task.makes != "text" and not options.attention:
        raise RequestError(f"{writers.PLURALS[task.makes]} cannot be shown in the terminal; add --out FILE.")
    common = parse_options(task.request_type, rest, others=list(vars(options)))
    requests = make_requests(task.request_type, common, options.prompt, options.prompts)
    if options.attention and len(requests) > 1:
        raise RequestError(f"--attention draws one request, but there are {len(requests)}; give one prompt.")
    examiner = findings.examiner(requests, options.workdir or options.weights, streamed=bool(options.stream))
    if options.workdir:
        average = {"ema": options.ema, "ema_std": options.ema_std}
        variables = run_variables(options.workdir, task, options.checkpoint, mesh=mesh, report=_warn, **average)
    else:
        variables = tasks.weights_variables(options.weights, task, mesh=mesh, rules=DEFAULT_RULES)
    if options.attention:
        maps = task.attention(variables, requests[0])
        if processes.is_main():
            _warn(f"wrote {write_picture(maps, options.attention, overwrite=options.overwrite)}")
        return
    sampler = Sampler(task, mesh=mesh)
    one_text = len(requests) == 1 and getattr(requests[0], "num_samples", 1) == 1
    if options.stream or (options.stream is None and one_text and not (options.out or examiner) and sys.stdout.isatty()):
        _stream(sampler, variables, requests, options.seed)
        return
    artifacts = sampler(variables, requests, seed=options.seed, progress=True)
    if not processes.is_main():
        return
    artifacts = examiner(artifacts) if examiner else artifacts
    if options.out:
        _warn(f"wrote {writers.write(artifacts, options.out, overwrite=options.overwrite)[0]}")
    else:
        print(writers.listing(artifacts))


def _stream(sampler: Sampler, variables: Variables, requests: Sequence[Any], seed: int) -> None:
    say = print if processes.is_main() else lambda *_, **__: None
    for request in requests:
        after = ""
        for number, piece in enumerate(sampler.stream(variables, request, seed=seed)):
            before, after = writers.around(piece)
            say(piece.value if number else before + piece.value, end="", flush=True)
        say(after)


def _warn(line: str) -> None:
    if processes.is_main():
        print(line, file=sys.stderr)
