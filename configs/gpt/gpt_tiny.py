"""A small GPT on the running Python's own standard library: the demo.

    python train.py --config=configs/gpt/gpt_tiny.py --workdir=runs/demo
    python sample.py --workdir=runs/demo --prompt=$'import os\\n\\n\\ndef'

Hardware: two CPU cores, a few minutes.
"""

from ml_collections import ConfigDict


def get_config():
    return ConfigDict(
        {
            "seed": 0,
            "task": {
                "name": "language_model",
                "model": {
                    "num_layers": 4,
                    "num_heads": 4,
                    "embed_dim": 128,
                    "context_length": 256,
                    "position": "rotary",
                    "norm": "rmsnorm",
                    "activation": "silu",
                    "gated": True,
                    "mlp_dim": 352,
                    "use_bias": False,
                },
                "prompts": ("import os\n\n\ndef", "import", "class"),
                "sample_tokens": 96,
            },
            "data": {
                "name": "text",
                "source": "stdlib",
                "tokenizer": {"name": "bpe", "vocab_size": 1024},
                "mode": "pack",
                "batch_size": 16,
                "sequence_length": 128,
                "evaluation_fraction": 0.05,
            },
            "optimizer": {
                "name": "adamw",
                "schedule": "warmup_cosine",
                "peak_lr": 3e-3,
                "end_lr": 3e-4,
                "warmup_steps": 50,
                "b2": 0.98,
                "weight_decay": 0.1,
                "clip_norm": 1.0,
            },
            "train": {
                "steps": 1200,
                "log_every": 10,
                "eval_every": 200,
                "eval_batches": 40,
                "sample_every": 400,
                "checkpoint_every": 200,
            },
        }
    )
