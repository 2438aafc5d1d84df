"""BERT-base, uncased (Devlin et al., 2019, appendix A.2), without its next-sentence objective: dynamic masking as in RoBERTa.

    python train.py --config=configs/bert/bert_base.py --workdir=runs/bert_base --config.data.path=TEXT.jsonl
    python train.py --config=configs/bert/bert_base.py --workdir=runs/mine --config.train.init_from=bert-base-uncased \
        --config.data.tokenizer.path=bert-base-uncased --config.data.path=TEXT.jsonl

Hardware: 8 accelerators of 16 GB. Not measured here.
"""

from ml_collections import ConfigDict


def get_config():
    return ConfigDict(
        {
            "seed": 0,
            "task": {
                "name": "masked_lm",
                "model": {
                    "size": "bert_base_uncased",
                    "dtype": "bfloat16",
                    "scan_layers": True,
                    "remat": "dots",
                },
            },
            "data": {
                "name": "text",
                "source": "jsonl",
                "path": "",
                "text_field": "text",
                "bidirectional": True,
                "tokenizer": {"name": "wordpiece", "path": "", "vocab_size": 30522},
                "mode": "pack",
                "batch_size": 256,
                "sequence_length": 512,
                "evaluation_fraction": 0.0005,
            },
            "optimizer": {
                "name": "adamw",
                "schedule": "linear",
                "peak_lr": 1e-4,
                "warmup_steps": 10_000,
                "b1": 0.9,
                "b2": 0.999,
                "eps": 1e-6,
                "weight_decay": 0.01,
                "clip_norm": 1.0,
            },
            "train": {
                "steps": 1_000_000,
                "log_every": 10,
                "eval_every": 5000,
                "checkpoint_every": 5000,
            },
        }
    )
