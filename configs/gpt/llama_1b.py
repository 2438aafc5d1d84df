"""Llama-type, 1.2B parameters (the shape of Llama 3.2 1B).

    python train.py --config=configs/gpt/llama_1b.py --workdir=runs/llama_1b --config.data.path=TEXT.jsonl \
        --config.data.tokenizer.path=FOLDER_WITH_TOKENIZER_JSON

Hardware: 32 TPU v5e chips or 8 GPUs of 80 GB. Not trained here."""

from pretraining import recipe


def get_config():
    return recipe(
        "llama_1b",
        sequence_length=4096,
        batch_size=256,
        peak_lr=3e-4,
        steps=100_000,
        mesh={"data": -1, "fsdp": 8},
        tokenizer={"name": "pretrained", "path": "TOKENIZER"},
    )
