"""T5 11B, 11.3B parameters (Raffel et al., 2020), fine-tuned on pairs of texts, on 64 TPU v5p chips.

    python train.py --config=configs/seq2seq/t5_11b.py --workdir=runs/t5_11b --config.train.init_from=t5-11b \\
        --config.data.tokenizer.path=t5-11b --config.data.source=train.en --config.data.target=train.de
    python train.py --config=configs/seq2seq/t5_11b.py --compile_only --topology=v5p:4x4x4

Compiled for v5p:4x4x4, see benchmarks/RESULTS.md; not trained here. Published: BLEU 32.1 on newstest2014 from English to German
(table 14)."""

from t5_finetuning import recipe


def get_config():
    return recipe("t5_11b", batch_size=2048, mesh={"data": -1, "fsdp": 64}, remat="full")
