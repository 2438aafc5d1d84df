"""GPT-3, 175B parameters (Brown et al., 2020, table 2.1), every layer dense.

    python train.py --config=configs/gpt/gpt3_175b.py --workdir=runs/gpt3 --config.data.path=TEXT.jsonl
    python train.py --config=configs/gpt/gpt3_175b.py --compile_only --topology=v5p:8x16x16

Hardware: 2,048 TPU v5p chips. The paper's batch is 3.2M tokens and its run 300B tokens. Not trained here."""

from pretraining import recipe


def get_config():
    return recipe(
        "gpt3_175b",
        sequence_length=2048,
        batch_size=2048,
        peak_lr=6e-5,
        steps=71_000,
        warmup_steps=375,
        mesh={"data": -1, "fsdp": 256, "tensor": 8},
    )
