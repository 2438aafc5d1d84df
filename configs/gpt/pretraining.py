"""The recipe that the GPT sizes share: packed text, AdamW, warmup and cosine, bfloat16. Not a config by itself."""

from ml_collections import ConfigDict


def recipe(
    size: str,
    *,
    sequence_length: int,
    batch_size: int,
    peak_lr: float,
    steps: int,
    warmup_steps: int = 2000,
    mesh: dict | None = None,
    accumulation: int = 1,
    tokenizer: dict | None = None,
    **model,
) -> ConfigDict:
    """A pretraining run of `size` (a row of genjax/models/gpt_sizes.py).

    `model` replaces fields of the network. The text comes from `--config.data.path`, JSON Lines with a field "text".
    """
    network = {"dtype": "bfloat16", "scan_layers": True, "remat": "full", "context_length": sequence_length}
    return ConfigDict(
        {
            "seed": 0,
            "task": {"name": "language_model", "model": {"size": size} | network | model},
            "data": {
                "name": "text",
                "source": "jsonl",
                "path": "",
                "text_field": "text",
                "tokenizer": tokenizer or {"name": "bpe", "path": "", "vocab_size": 50257},
                "mode": "pack",
                "batch_size": batch_size,
                "sequence_length": sequence_length,
                "evaluation_fraction": 0.0005,
            },
            "optimizer": {
                "name": "adamw",
                "schedule": "warmup_cosine",
                "peak_lr": peak_lr,
                "end_lr": peak_lr / 10,
                "warmup_steps": warmup_steps,
                "b1": 0.9,
                "b2": 0.95,
                "weight_decay": 0.1,
                "clip_norm": 1.0,
            },
            "mesh": mesh or {"data": -1},
            "train": {
                "steps": steps,
                "accumulation": accumulation,
                "log_every": 10,
                "eval_every": 1000,
                "sample_every": 5000,
                "checkpoint_every": 1000,
            },
        }
    )
