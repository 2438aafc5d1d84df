"""The published DALL-E: 64 layers, 3,968 wide, 62 heads, 256 tokens of text and 32x32 codes (Ramesh et al., 2021, appendix B).

    python train.py --config=configs/dalle/dalle_12b.py --compile_only --topology=v5p:8x8x8

Compiled for a v5p:8x8x8 slice on a CPU machine: 6.47 of 95.74 GiB on each chip (benchmarks/RESULTS.md). Codes are computed
before, by genjax.sampling.encode, of images of 256x256 pixels; the tokenizer is one of 16,384 pieces. Not trained here.
"""

from ml_collections import ConfigDict


def get_config():
    return ConfigDict(
        {
            "seed": 0,
            "task": {
                "name": "dalle",
                "model": {"scan_layers": True, "remat": "full", "dtype": "bfloat16"},
            },
            "data": {
                "name": "image_texts",
                "path": "$IMAGES",
                "tokenizer": {"name": "bpe", "vocab_size": 16384},
                "context_length": 256,
                "codes": {"path": "$CODES", "codes": 8192, "rows": 32, "columns": 32},
                "batch_size": 1024,
            },
            "optimizer": {
                "name": "adamw",
                "schedule": "warmup_cosine",
                "peak_lr": 4.5e-4,
                "end_lr": 4.5e-6,
                "warmup_steps": 5000,
                "b1": 0.9,
                "b2": 0.96,
                "weight_decay": 4.5e-2,
                "clip_norm": 4.0,
            },
            "train": {
                "steps": 430_000,
                "checkpoint_every": 1000,
            },
            "mesh": {"data": 4, "fsdp": 128},
        }
    )
