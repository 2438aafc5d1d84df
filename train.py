"""Trains any model of genjax from a config file.

    python train.py --config=configs/gpt/gpt_tiny.py --workdir=runs/demo
    python train.py --config=configs/gpt/gpt_tiny.py --workdir=runs/demo --config.optimizer.peak_lr=3e-4
    python train.py --config=configs/gpt/llama_7b.py --compile_only --topology=v5p:4x4x4

The same command goes on where a stopped run was. Any key of the config can be set as --config.section.key=value.
"""

import argparse
import sys
from pathlib import Path

from genjax.config import apply_overrides, load_file
from genjax.errors import GenjaxError


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    result.add_argument(
        "--config", required=True, help="a config file with get_config(); --config.section.key=value changes a key"
    )
    result.add_argument("--workdir", help="the run directory: checkpoints, metrics, samples, report.png")
    result.add_argument("--allow_changes", action="store_true", help="go on in a run whose stored config differs")
    result.add_argument("--compile_only", action="store_true", help="compile the step, report memory and collectives, and stop")
    result.add_argument("--topology", default="", help="with --compile_only: a TPU slice to compile for, such as v5p:8x8x8")
    return result


def main(arguments: list[str]) -> int:
    options, rest = parser().parse_known_args(arguments)
    try:
        config = apply_overrides(load_file(Path(options.config)), rest)
        from genjax import training  # imports jax: bad arguments are answered before that takes its seconds

        if options.compile_only:
            print(training.compile_only(config, options.topology))
            return 0
        if not options.workdir:
            raise GenjaxError("--workdir is missing; name a directory for the run, for example --workdir=runs/first.")
        training.train(config, options.workdir, allow_changes=options.allow_changes)
    except GenjaxError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
