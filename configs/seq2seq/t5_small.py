"""T5 small, 60M parameters (Raffel et al., 2020), fine-tuned on pairs of texts of your own.

    python train.py --config=configs/seq2seq/t5_small.py --workdir=runs/mine --config.train.init_from=t5-small \\
        --config.data.tokenizer.path=t5-small --config.data.source=train.en --config.data.target=train.de

Hardware: one GPU or TPU. Expected: BLEU 26.7 on newstest2014 from English to German (published, table 14; not measured here).
"""

from t5_finetuning import recipe


def get_config():
    return recipe("t5_small")
