"""GPT-2, 355M parameters (Radford et al., 2019).

    python train.py --config=configs/gpt/gpt2_355m.py --workdir=runs/gpt2_355m --config.data.path=TEXT.jsonl

Hardware: 8 accelerators of 40 GB. Published: 2.84 validation loss on OpenWebText for the released checkpoint (nanoGPT). Not
measured here."""

from pretraining import recipe


def get_config():
    return recipe(
        "gpt2_355m",
        sequence_length=1024,
        batch_size=512,
        peak_lr=3e-4,
        steps=600_000,
    )
