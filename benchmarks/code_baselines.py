"""Bits a byte on a run's held-out files: the network against gzip, xz and a 5-gram model with backoff.

    python benchmarks/code_baselines.py --workdir=runs/code

The compressors see all held-out files as one stream (their best case) and, in brackets, one by one. The 5-gram model (Kneser-Ney)
is trained on the tokens that the network was trained on, and is scored like the network: each document's tokens and its end, over
the bytes of its text. The network's figure is the last held-out one of its metrics.jsonl.
"""

import argparse
import gzip
import json
import lzma
import math
import sys
from pathlib import Path

import numpy as np

from genjax import data
from genjax.data.corpus import Corpus
from genjax.errors import GenjaxError
from genjax.evaluation.ngram import train_ngram
from genjax.sampling.run import read_config


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", required=True, help="a run of train.py on text")
    options = parser.parse_args()
    run = Path(options.workdir)
    try:
        config = read_config(run)
        datasets = data.build(config["data"], seed=config["seed"], cache_dir=run / "data")
    except GenjaxError as error:
        sys.exit(f"error: {error}")
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    measured = [line for line in lines if "held_out/bits_per_byte" in line]
    if datasets.evaluation is None or not measured:
        sys.exit(f"error: {run} has no held-out bits per byte; train with data.evaluation_fraction and train.eval_every.")
    tokenizer = datasets.train.info.tokenizer
    train, held_out = map(corpus, (datasets.train, datasets.evaluation))
    ends = zip(held_out.offsets[:-1], held_out.offsets[1:] + held_out.overlap, strict=True)
    documents = [np.asarray(held_out.tokens[start:stop]) for start, stop in ends]
    texts = [tokenizer.decode_bytes(tokens) for tokens in documents]
    size = sum(map(len, texts))
    assert size == held_out.num_bytes, "the held-out files decode to what was read"
    whole = b"".join(texts)
    compressors = {
        "gzip -9": lambda text: gzip.compress(text, 9),
        "xz -9e": lambda text: lzma.compress(text, preset=9 | lzma.PRESET_EXTREME),
    }
    rows = []
    for name, compress in compressors.items():
        alone = sum(len(compress(text)) for text in texts)
        rows.append((name, f"{8 * len(compress(whole)) / size:.3f} ({8 * alone / size:.3f})"))
    for order in (3, 5):
        model = train_ngram(train.tokens, tokenizer.vocab_size, order)
        nats = -sum(model.log_probabilities(tokens)[1:].sum() for tokens in documents)
        rows.append((f"{order}-gram over the same tokens", f"{nats / math.log(2) / size:.3f}"))
    last = measured[-1]
    rows.append((f"the network, step {last['step']:,}", f"**{last['held_out/bits_per_byte']:.3f}**"))
    print(f"{len(texts)} held-out files of {size:,} bytes; trained on {train.num_bytes:,} bytes, {len(train.tokens):,} tokens\n")
    print("| | bits a byte |\n|---|---|")
    print("\n".join(f"| {name} | {figure} |" for name, figure in rows))


def corpus(dataset: data.Dataset) -> Corpus:
    """The tokens behind a dataset's rows, whether or not some of these are rewritten to fill in the middle."""
    rows = dataset.batches.rows
    return getattr(rows, "rows", rows).corpus


if __name__ == "__main__":
    main()
