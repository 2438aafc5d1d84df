"""What the two recipes for questions about simple shapes share. Not a config by itself.

8x8 patches give 64 vectors of a 64x64 image; the parts are trained together from nothing. Images may be turned over: no question
asks for sides.
"""

from ml_collections import ConfigDict


def recipe(fusion: str, *, steps: int) -> ConfigDict:
    """Questions of easy-VQA, seen as `fusion` says."""
    return ConfigDict(
        {
            "seed": 0,
            "task": {
                "name": "visual_language",
                "model": {
                    "fusion": fusion,
                    "vision": {"patch_size": 8, "num_layers": 4, "num_heads": 4, "embed_dim": 128},
                    "gpt": {
                        "num_layers": 3,
                        "num_heads": 4,
                        "embed_dim": 128,
                        "context_length": 96,
                        "position": "rotary",
                        "norm": "rmsnorm",
                        "activation": "silu",
                        "gated": True,
                        "mlp_dim": 352,
                        "use_bias": False,
                    },
                },
            },
            "data": {
                "name": "image_questions",
                "path": "$GENJAX_DATA/easy_vqa.zip",
                "tokenizer": {"name": "bpe", "vocab_size": 384},
                "image_size": 64,
                "augmentation": {"flip": True, "flip_vertical": True},
                "sequence_length": 16,
                "batch_size": 64,
                "evaluation_fraction": 0.1,
            },
            "optimizer": {
                "name": "muon",
                "schedule": "warmup_cosine",
                "peak_lr": 3e-3,
                "end_lr": 1e-4,
                "adam_lr": 3e-3,
                "warmup_steps": 100,
                "b1": 0.95,
                "b2": 0.98,
                "weight_decay": 0.1,
                "clip_norm": 1.0,
            },
            "train": {
                "steps": steps,
                "log_every": 10,
                "eval_every": 500,
                "eval_batches": 30,
                "checkpoint_every": 500,
            },
        }
    )
