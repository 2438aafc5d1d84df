"""Samples from a run of train.py or from a folder of published weights.

    python sample.py --workdir=runs/demo --prompt="O Romeo" --temperature=0.8
    python sample.py --weights=gpt2 --prompt="Once upon a time" --num_beams=4
    python sample.py --workdir=runs/demo --prompts=prompts.txt --num_samples=4 --out=texts.jsonl

The model's own options (temperature, ...) are listed by --help together with --workdir or --weights.
"""

import argparse
import os
import sys

from genjax.errors import GenjaxError


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, add_help=False
    )
    result.add_argument("--help", "-h", action="store_true", help="show this, and the options of the model that is named")
    result.add_argument("--workdir", help="a run directory of train.py")
    result.add_argument("--weights", help="published weights: a folder with config.json, safetensors, tokenizer; a GAN's files")
    result.add_argument("--checkpoint", type=int, help="with --workdir: the step to sample from (default: the newest)")
    result.add_argument(
        "--ema", type=decay, help="with --workdir: a decay whose average the run keeps, or none (default: its first)"
    )
    result.add_argument(
        "--ema_std", type=float, help="in its place: the relative width of an average, such as 0.13, of a run with snapshots"
    )
    result.add_argument("--prompt", action="append", default=[], help="what to continue (repeatable)")
    result.add_argument("--prompts", help="a text file with a prompt on each line, or .jsonl with a request on each line")
    result.add_argument("--out", help="write to this file (texts: .jsonl) instead of the terminal")
    result.add_argument("--attention", help="write a picture (.png) of where the model looks in the prompt, and stop")
    result.add_argument("--overwrite", action="store_true", help="replace the file of --out or --attention")
    result.add_argument("--seed", type=int, default=0, help="the same seed and requests give the same results (default 0)")
    result.add_argument(
        "--stream", action=argparse.BooleanOptionalAction, help="show the text as it is written (default: one prompt, terminal)"
    )
    result.add_argument("--mesh", default="", help="devices along each axis, such as data=1,tensor=4 (default: one device)")
    result.add_argument("--dtype", choices=("float32", "bfloat16"), help="of the computation (default: as trained, or float32)")
    return result


def decay(text: str) -> float:
    return 0.0 if text == "none" else float(text)


def main(arguments: list[str]) -> int:
    options, rest = parser().parse_known_args(arguments)
    try:
        if options.help and not (options.workdir or options.weights):
            print(parser().format_help(), flush=True)
            return 0
        if bool(options.workdir) == bool(options.weights):
            raise GenjaxError("name one model: --workdir RUN for a run of train.py, or --weights DIR for published weights.")
        from genjax.sampling import command  # imports jax: bad arguments are answered before that takes its seconds

        command.run(options, rest, usage=parser().format_help())
        sys.stdout.flush()
    except GenjaxError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # whoever reads has seen enough, as `head` has
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
