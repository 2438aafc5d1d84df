"""The original Transformer, base size (Vaswani et al., 2017), on aligned files of your own, such as WMT 2014 English-German.

    python train.py --config=configs/seq2seq/transformer_base.py --workdir=runs/wmt --config.data.source=train.en \\
        --config.data.target=train.de --config.data.evaluation_source=dev.en --config.data.evaluation_target=dev.de

Hardware: eight GPUs, about half a day; a batch holds about 25,000 tokens on either side, as in the paper (section 5.1).
Expected: BLEU 27.3 on newstest2014 (published, table 2; not measured here).
"""

from ml_collections import ConfigDict


def get_config():
    return ConfigDict(
        {
            "seed": 0,
            "task": {
                "name": "seq2seq",
                "model": {"size": "transformer_base", "dtype": "bfloat16"},
                "label_smoothing": 0.1,
            },
            "data": {
                "name": "line_pairs",
                "source": "",
                "target": "",
                "tokenizer": {"name": "sentencepiece", "model_type": "bpe", "vocab_size": 37000},
                "batch_size": 96,
                "source_length": 256,
                "target_length": 256,
            },
            # Section 5.3: the rate grows for 4,000 steps to embed_dim ** -0.5 * 4000 ** -0.5, then falls as steps ** -0.5.
            "optimizer": {
                "name": "adam",
                "schedule": "inverse_sqrt",
                "peak_lr": 7e-4,
                "warmup_steps": 4000,
                "b1": 0.9,
                "b2": 0.98,
                "eps": 1e-9,
            },
            "train": {"steps": 100_000, "log_every": 100, "eval_every": 5000, "checkpoint_every": 5000},
        }
    )
