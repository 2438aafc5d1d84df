"""A small code model that fills in the middle, on the running Python's own standard library.

    python train.py --config=configs/code/code_tiny.py --workdir=runs/code
    python sample.py --workdir=runs/code --prefix=$'def add(a, b):\\n    ' --suffix=$'\\n    return c\\n'

Hardware: two CPU cores, 40 minutes to an hour. Measured: 0.935 bits a byte of held-out files (benchmarks/RESULTS.md).
`--config.data.fim.rate=0` trains the same model from left to right.
"""

from ml_collections import ConfigDict


def get_config():
    return ConfigDict(
        {
            "seed": 0,
            "task": {
                "name": "code_model",
                "model": {
                    "num_layers": 6,
                    "num_heads": 4,
                    "embed_dim": 192,
                    "context_length": 512,
                    "position": "rotary",
                    "norm": "rmsnorm",
                    "activation": "silu",
                    "gated": True,
                    "mlp_dim": 512,
                    "use_bias": False,
                },
                "infill_order": "spm",
                "prompts": ("import os\n\n\ndef", "import", "class"),
                "sample_tokens": 96,
            },
            "data": {
                "name": "code",
                "source": "stdlib",
                "include_tests": True,
                "tokenizer": {"name": "bpe", "words": "code", "fim_tokens": True, "vocab_size": 4096},
                # All of them suffix first: ten million tokens do not teach a model of this size to reach back over a suffix. With
                # "line_rate" middles would be lines, as editors ask for: better lines, and a worse loss (benchmarks/RESULTS.md).
                "fim": {"rate": 0.5, "spm_rate": 1.0},
                "mode": "pack",
                "batch_size": 8,
                "sequence_length": 512,
                "evaluation_fraction": 0.03,
            },
            # Muon learns from 0.8M tokens what AdamW at 3e-3 does not reach: held-out loss 4.72 against 5.22.
            "optimizer": {
                "name": "muon",
                "schedule": "warmup_cosine",
                "peak_lr": 4e-3,
                "end_lr": 1e-4,
                "adam_lr": 3e-3,
                "warmup_steps": 100,
                "b1": 0.95,
                "b2": 0.98,
                "weight_decay": 0.1,
                "clip_norm": 1.0,
            },
            "train": {
                "steps": 2400,
                "log_every": 10,
                "eval_every": 300,
                "sample_every": 600,
                "checkpoint_every": 300,
                "keep_every": 300,
            },
        }
    )
