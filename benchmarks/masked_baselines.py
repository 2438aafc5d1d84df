"""Nats for a hidden token of a run's held-out text: the network against models that count.

    python benchmarks/masked_baselines.py --workdir=runs/bert

All see the same places (`MaskedLM.evaluate`), and the counting models the true neighbours of each, where the network sees what
masking left of them. They are trained on the tokens that the network was trained on, and give no weight to tokens that are never
hidden. Unigram and bigram are Kneser-Ney; see genjax/evaluation/two_sided.py. The network's figure is the last held-out one of
its metrics.jsonl.
"""

import argparse
import json
import sys
from pathlib import Path

import jax
import numpy as np

from genjax import data, tasks
from genjax.errors import GenjaxError
from genjax.evaluation.two_sided import train_neighbours
from genjax.sampling.run import read_config
from genjax.tasks import masking
from genjax.tasks.masked_lm import MaskedLM


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", required=True, help="a run of train.py with task.name 'masked_lm'")
    options = parser.parse_args()
    run = Path(options.workdir)
    try:
        config = read_config(run)
        datasets = data.build(config["data"], seed=config["seed"], cache_dir=run / "data")
        task = tasks.build(config["task"], datasets.train.info)
    except GenjaxError as error:
        sys.exit(f"error: {error}")
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    measured = [line for line in lines if "held_out/loss" in line]
    if datasets.evaluation is None or not measured or not isinstance(task, MaskedLM):
        sys.exit(f"error: {run} is no masked language model with a held-out loss.")
    tokens = datasets.train.batches.rows.corpus.tokens
    model = train_neighbours(tokens, datasets.train.info.vocab_size, task.vocabulary.ordinary)
    found = hidden_tokens(task, datasets.evaluation)
    names = ("unigram", "bigram (the token before)", "bigrams on both sides, mixed with counts of the triple")
    nats, right = np.zeros((2, 3))
    nothing = model.from_nothing()
    for left, word, after in found:
        for number, values in enumerate((nothing, model.from_left(left), model.from_both(left, after))):
            nats[number] -= np.log(values[word])
            right[number] += values.argmax() == word
    last = measured[-1]
    print(f"{len(found):,} hidden tokens of {datasets.evaluation.info}; trained on {len(tokens):,} tokens\n")
    print("| | nats a hidden token | found |\n|---|---|---|")
    for name, total, hits in zip(names, nats, right, strict=True):
        print(f"| {name} | {total / len(found):.3f} | {hits / len(found):.1%} |")
    print(f"| the network, step {last['step']:,} | **{last['held_out/loss']:.3f}** | {last['held_out/accuracy']:.1%} |")


def hidden_tokens(task: MaskedLM, dataset: data.Dataset) -> list[tuple[int, int, int]]:
    """(token before, hidden token, token after) of every place that the held-out loss counts; beyond a row's ends, the row's own
    first or last token stands in."""
    mask = jax.jit(lambda batch: task.mask(batch, masking.content_keys(batch["tokens"])))
    found = []
    for number in range(dataset.num_batches):
        batch = dataset.batch(number)
        masked = jax.device_get(mask(batch))
        rows, columns = np.nonzero(masked.weights)
        for row, place in zip(rows, masked.places[rows, columns], strict=True):
            tokens = batch["tokens"][row]
            found.append((int(tokens[max(place - 1, 0)]), int(tokens[place]), int(tokens[min(place + 1, len(tokens) - 1)])))
    return found


if __name__ == "__main__":
    main()
