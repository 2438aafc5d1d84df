"""Writes a run's weights in the published format that others read.

python -m genjax.sampling.export --workdir=runs/demo --out=demo_hf
"""

import argparse
import sys

from genjax.commands import command_parser, exit_code
from genjax.parallel import processes
from genjax.sampling.run import open_run


def main(arguments: list[str]) -> int:
    parser = command_parser("genjax.sampling.export", __doc__)
    parser.add_argument("--workdir", required=True, help="a run directory of train.py")
    parser.add_argument("--out", required=True, help="a new folder: config.json, safetensors, tokenizer")
    parser.add_argument("--checkpoint", type=int, help="the step (default: the newest)")
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), help="of the files (default: as trained)")
    parser.add_argument("--raw", action="store_true", help="the raw weights where the run also keeps averaged ones")
    options = parser.parse_args(arguments)
    return exit_code(lambda: run(options))


def run(options: argparse.Namespace) -> None:
    processes.initialize()
    task, variables = open_run(options.workdir, options.checkpoint, ema=0.0 if options.raw else None)
    task.export(options.out, variables, dtype=options.dtype)
    print(f"wrote {options.out}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
