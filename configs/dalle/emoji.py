"""DALL-E on emoji: names and 16x16 codes of a VQ-VAE in one GPT with the paper's patterns of attention.

    python train.py --config=configs/autoencoder/vqvae_emoji.py --workdir=runs/vqvae_emoji
    python train.py --config=configs/dalle/emoji.py --workdir=runs/dalle_emoji
    python sample.py --workdir=runs/dalle_emoji --prompt="smiling cat" --num_samples=16 --out=drawn

Hardware: two CPU cores, an hour after the first stage's 45 minutes; GENJAX_DATA names the folder that holds emoji.zip. A tenth
of the names is held out, of both vendors. Measured on those: a small CLIP finds the own name nearer than another one for 83 %
of what is drawn, and for 84 % of the vendors' pictures (benchmarks/RESULTS.md).
"""

from ml_collections import ConfigDict


def get_config():
    return ConfigDict(
        {
            "seed": 0,
            "task": {
                "name": "dalle",
                "first_stage": "runs/vqvae_emoji",
                "model": {
                    "num_layers": 6,
                    "num_heads": 6,
                    "embed_dim": 192,
                    "patterns": ("row", "column", "row", "full"),
                    "last_pattern": "conv",
                    "kernel": 5,
                    "dropout": 0.1,
                },
                "sampling": {"guidance": 3.0, "top_k": 100},
                "prompts": ("red apple", "smiling cat face", "flag: France", "blue heart"),
            },
            "data": {
                "name": "image_texts",
                "path": "$GENJAX_DATA/emoji.zip",
                "words_field": "keywords",
                "tokenizer": {"name": "wordpiece", "vocab_size": 2048},
                "context_length": 24,
                "image_size": 64,
                "augmentation": {"pad": 2, "zoom": 0.05},
                "batch_size": 32,
            },
            "optimizer": {
                "name": "muon",
                "schedule": "warmup_cosine",
                "peak_lr": 4e-3,
                "end_lr": 4e-5,
                "adam_lr": 2e-3,
                "warmup_steps": 100,
                "b1": 0.95,
                "b2": 0.98,
                "weight_decay": 0.1,
                "clip_norm": 1.0,
            },
            "ema": {"decays": (0.995,), "include": ("dalle/params/*",)},
            "train": {
                "steps": 1600,
                "log_every": 20,
                "eval_every": 300,
                "sample_every": 600,
                "checkpoint_every": 300,
            },
        }
    )
