"""Llama-type, 70B parameters with grouped-query attention (Touvron et al., 2023), on 512 TPU v5p chips.

    python train.py --config=configs/gpt/llama_70b.py --workdir=runs/llama_70b --config.data.path=TEXT.jsonl \
        --config.data.tokenizer.path=FOLDER_WITH_TOKENIZER_JSON
    python train.py --config=configs/gpt/llama_70b.py --compile_only --topology=v5p:8x8x8

Compiled for v5p:8x8x8, see benchmarks/RESULTS.md; not trained here."""

from pretraining import recipe


def get_config():
    return recipe(
        "llama_70b",
        sequence_length=4096,
        batch_size=1024,
        peak_lr=1.5e-4,
        steps=500_000,
        mesh={"data": -1, "fsdp": 128, "tensor": 4},
        tokenizer={"name": "pretrained", "path": "TOKENIZER"},
    )
