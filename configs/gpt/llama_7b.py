"""Llama-type, 7B parameters (Touvron et al., 2023), on 64 TPU v5p chips.

    python train.py --config=configs/gpt/llama_7b.py --workdir=runs/llama_7b --config.data.path=TEXT.jsonl \
        --config.data.tokenizer.path=FOLDER_WITH_TOKENIZER_JSON
    python train.py --config=configs/gpt/llama_7b.py --compile_only --topology=v5p:4x4x4

Compiled for v5p:4x4x4, see benchmarks/RESULTS.md; not trained here."""

from pretraining import recipe


def get_config():
    return recipe(
        "llama_7b",
        sequence_length=4096,
        batch_size=512,
        peak_lr=3e-4,
        steps=500_000,
        mesh={"data": -1, "fsdp": 64},
        tokenizer={"name": "pretrained", "path": "TOKENIZER"},
    )
