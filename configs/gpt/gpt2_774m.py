"""GPT-2, 774M parameters (Radford et al., 2019).

    python train.py --config=configs/gpt/gpt2_774m.py --workdir=runs/gpt2_774m --config.data.path=TEXT.jsonl

Hardware: 16 or more accelerators. Published: 2.67 validation loss on OpenWebText for the released checkpoint (nanoGPT). Not
measured here."""

from pretraining import recipe


def get_config():
    return recipe(
        "gpt2_774m",
        sequence_length=1024,
        batch_size=512,
        peak_lr=2.5e-4,
        steps=600_000,
        mesh={"data": -1, "fsdp": 16},
    )
