"""The recipe that the T5 sizes share, after Raffel et al., 2020, section 3.1.3, for pairs of texts. Not a config by itself."""

from ml_collections import ConfigDict


def recipe(size: str, *, batch_size: int = 128, mesh: dict | None = None, **model) -> ConfigDict:
    """Fine-tuning of `size` (a row of genjax/models/encoder_decoder_sizes.py) on pairs of texts, with its own tokenizer.

    `model` replaces fields of the network. The pairs come from `--config.data.source` and `--config.data.target`, files whose
    lines belong together; the weights from `--config.train.init_from`.
    """
    return ConfigDict(
        {
            "seed": 0,
            "task": {"name": "seq2seq", "model": {"size": size, "dtype": "bfloat16"} | model},
            "data": {
                "name": "line_pairs",
                "source": "",
                "target": "",
                "tokenizer": {"name": "pretrained", "path": "TOKENIZER"},
                "batch_size": batch_size,
                "source_length": 512,
                "target_length": 512,
            },
            "optimizer": {"name": "adafactor", "schedule": "constant", "peak_lr": 1e-3, "warmup_steps": 0, "clip_norm": 0.0},
            "mesh": mesh or {"data": -1},
            "train": {"steps": 262_144, "log_every": 10, "eval_every": 5000, "checkpoint_every": 5000},
        }
    )
