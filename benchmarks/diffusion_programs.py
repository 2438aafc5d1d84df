"""Programs that a class-conditional diffusion run compiles while one turns what can be turned, and the seconds of each request.

python benchmarks/diffusion_programs.py --workdir=runs/clothes
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from genjax.diffusion.samplers import SAMPLERS
from genjax.errors import GenjaxError, RequestError
from genjax.parallel.processes import leave_out_absent_tpu
from genjax.sampling.loop import Sampler
from genjax.sampling.run import open_run
from genjax.tasks.diffusion import Diffusion
from genjax.tasks.diffusion_requests import STRAIGHT

SAMPLES = 4


def turns(label: str, samplers: Sequence[str]) -> list[tuple[str, list[dict[str, Any]]]]:
    """What is turned, in the order in which it is asked for."""
    return [
        ("the first request, without guidance", [{"steps": 16, "guidance": 1.0}]),
        ("the first with guidance", [{"steps": 16, "guidance": 2.0}]),
        ("steps 10 to 16", [{"steps": steps} for steps in range(10, 17)]),
        ("guidance 1.5 to 4", [{"steps": 16, "guidance": guidance} for guidance in (1.5, 2.5, 3.0, 4.0)]),
        ("every sampler of the process", [{"steps": 12, "sampler": sampler} for sampler in samplers]),
        ("spacing, churn, label", [{"steps": 12, "spacing": "karras", "sampler": "edm", "churn": 10.0, "label": (label,)}]),
        ("steps 17 to 32", [{"steps": steps} for steps in (17, 20, 25, 32)]),
        ("another size, 40x40", [{"steps": 16, "height": 40, "width": 40}]),
        ("that size, other steps", [{"steps": steps, "height": 40, "width": 40} for steps in (11, 14)]),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", type=Path, required=True)
    options = parser.parse_args()
    leave_out_absent_tpu()
    task, variables = open_run(options.workdir)
    if not (isinstance(task, Diffusion) and task.labels.attributes):
        raise RequestError(f"{options.workdir} is no run of task 'diffusion' with classes.")
    sampler, before = Sampler(task), 0
    print("| turned | requests | programs compiled | seconds a request |\n|---|---|---|---|")
    straight = task.process.config.schedule == "flow"
    samplers = [name for name in SAMPLERS if straight or name not in STRAIGHT]
    for name, wishes in turns(task.labels.attributes[0][1][0], samplers):
        began = time.perf_counter()
        for wish in wishes:
            sampler(variables, [task.request_type(num_samples=SAMPLES, **wish)])
        seconds = (time.perf_counter() - began) / len(wishes)
        print(f"| {name} | {len(wishes)} | {sampler.compilations - before} | {seconds:.1f} |", flush=True)
        before = sampler.compilations


if __name__ == "__main__":
    try:
        main()
    except GenjaxError as error:
        sys.exit(f"error: {error}")
