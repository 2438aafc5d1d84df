"""A character model of tiny Shakespeare in nanoGPT's CPU configuration: 4 layers, 4 heads, 128 wide, context 64, batch 12.

    python train.py --config=configs/gpt/shakespeare_char_cpu.py --workdir=runs/shakespeare

Hardware: two CPU cores, one to two minutes. GENJAX_DATA names the folder that holds tinyshakespeare.txt; another file is
--config.data.path=FILE. Published (nanoGPT's README): 1.88 validation loss after 2,000 steps.
"""

from ml_collections import ConfigDict


def get_config():
    return ConfigDict(
        {
            "seed": 1337,
            "task": {
                "name": "language_model",
                "model": {
                    "num_layers": 4,
                    "num_heads": 4,
                    "embed_dim": 128,
                    "context_length": 64,
                    "use_bias": False,
                    "dropout": 0.0,
                },
                "prompts": ("\n",),
                "sample_tokens": 63,
            },
            "data": {
                "name": "text",
                "source": "files",
                "path": "$GENJAX_DATA/tinyshakespeare.txt",
                "tokenizer": {"name": "character"},
                "mode": "window",
                "batch_size": 12,
                "sequence_length": 64,
                "evaluation_fraction": 0.1,
            },
            "optimizer": {
                "name": "adamw",
                "schedule": "warmup_cosine",
                "peak_lr": 4e-3,
                "end_lr": 1e-4,
                "warmup_steps": 100,
                "b1": 0.9,
                "b2": 0.99,
                "weight_decay": 0.1,
                "clip_norm": 1.0,
            },
            "train": {
                "steps": 2000,
                "log_every": 10,
                "eval_every": 250,
                "sample_every": 1000,
                "checkpoint_every": 250,
            },
        }
    )
