"""A small BERT on the English captions of Multi30k, with WordPiece learned from them.

    GENJAX_DATA=DATA python train.py --config=configs/bert/bert_tiny.py --workdir=runs/bert
    python sample.py --workdir=runs/bert --prompt="a man in a [MASK] shirt plays the [MASK] ."
    python sample.py --workdir=runs/bert --prompt="two dogs run on grass" --embed
    python benchmarks/masked_baselines.py --workdir=runs/bert

Hardware: two CPU cores, 40 to 60 minutes (51 GFLOP a step). Measured on held-out captions: 2.231 nats a hidden token, where
counting unigrams gives 5.751, bigrams 4.050 and both neighbours 2.983 (benchmarks/RESULTS.md).
"""

from ml_collections import ConfigDict


def get_config():
    return ConfigDict(
        {
            "seed": 0,
            "task": {
                "name": "masked_lm",
                "model": {
                    "num_layers": 4,
                    "num_heads": 4,
                    "embed_dim": 192,
                    "context_length": 64,
                    "token_types": 1,
                    "dropout": 0.1,
                },
                "prompts": (
                    "a man in a [MASK] shirt is playing the [MASK] .",
                    "two [MASK] run through the grass .",
                    "a little [MASK] in a pink [MASK] smiles .",
                ),
            },
            "data": {
                "name": "text",
                "source": "files",
                "path": "$GENJAX_DATA/multi30k/train.en.gz",
                "evaluation_path": "$GENJAX_DATA/multi30k/val.en.gz",
                "document_separator": "\n",
                "bidirectional": True,
                "tokenizer": {"name": "wordpiece", "vocab_size": 6000},
                "mode": "pack",
                "batch_size": 64,
                "sequence_length": 64,
            },
            "optimizer": {
                "name": "muon",
                "schedule": "warmup_cosine",
                "peak_lr": 2e-3,
                "end_lr": 5e-5,
                "adam_lr": 2e-3,
                "warmup_steps": 200,
                "b1": 0.95,
                "b2": 0.98,
                "weight_decay": 0.1,
                "clip_norm": 1.0,
            },
            "train": {
                "steps": 4000,
                "log_every": 10,
                "eval_every": 400,
                "sample_every": 1000,
                "checkpoint_every": 400,
            },
        }
    )
