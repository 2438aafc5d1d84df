"""The recipe that the sizes of Codex share: Chen et al., 2021, section 3.2. Not a config by itself."""

from ml_collections import ConfigDict


def recipe(
    size: str, *, peak_lr: float, batch_size: int = 256, accumulation: int = 1, mesh: dict | None = None, **model
) -> ConfigDict:
    """Pretraining of `size` (a row of genjax/models/gpt_sizes.py) on 100 billion tokens of code, half of it with the middle moved
    to the end.

    The paper starts from GPT-3 (`--config.train.init_from=FOLDER`), with AdamW (b2 0.95, weight decay 0.1), the learning rate of
    the GPT of that size, 175 steps of warmup and a cosine. Batch and context are those of GPT-3's small sizes. `model` replaces
    fields of the network.
    """
    length = 2048
    network = {"dtype": "bfloat16", "scan_layers": True, "remat": "full", "context_length": length}
    return ConfigDict(
        {
            "seed": 0,
            "task": {
                "name": "code_model",
                "model": {"size": size} | network | model,
                "prompts": ("import os\n\n\ndef", "import", "class"),
            },
            "data": {
                "name": "code",
                "source": "files",
                "path": "",
                "tokenizer": {"name": "bpe", "words": "code", "fim_tokens": True, "vocab_size": 50304},
                "fim": {"rate": 0.5},
                "mode": "pack",
                "batch_size": batch_size,
                "sequence_length": length,
                "evaluation_fraction": 0.005,
            },
            "optimizer": {
                "name": "adamw",
                "schedule": "warmup_cosine",
                "peak_lr": peak_lr,
                "end_lr": peak_lr / 10,
                "warmup_steps": 175,
                "b1": 0.9,
                "b2": 0.95,
                "weight_decay": 0.1,
                "clip_norm": 1.0,
            },
            "mesh": mesh or {"data": -1},
            "train": {
                "steps": 100_000_000_000 // (batch_size * length),
                "accumulation": accumulation,
                "log_every": 10,
                "eval_every": 1000,
                "sample_every": 5000,
                "checkpoint_every": 1000,
            },
        }
    )
