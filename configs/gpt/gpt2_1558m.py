"""GPT-2, 1.5B parameters (Radford et al., 2019), on 256 TPU v5e chips.

    python train.py --config=configs/gpt/gpt2_1558m.py --workdir=runs/gpt2_1558m --config.data.path=TEXT.jsonl
    python train.py --config=configs/gpt/gpt2_1558m.py --compile_only --topology=v5e:16x16

Published: 2.54 validation loss on OpenWebText for the released checkpoint (nanoGPT). Compiled for v5e:16x16, see
benchmarks/RESULTS.md; not trained here."""

from pretraining import recipe


def get_config():
    return recipe(
        "gpt2_1558m",
        sequence_length=1024,
        batch_size=512,
        peak_lr=2e-4,
        steps=600_000,
        mesh={"data": -1, "fsdp": 64},
    )
