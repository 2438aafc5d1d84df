"""GPT-2, 124M parameters (Radford et al., 2019), in nanoGPT's recipe: about half a million tokens a step.

    python train.py --config=configs/gpt/gpt2_124m.py --workdir=runs/gpt2_124m --config.data.path=TEXT.jsonl

Hardware: 8 accelerators of 16 GB; on one, set train.accumulation to 40. Published (nanoGPT, OpenWebText): about 2.85 validation
loss; the released checkpoint has 3.12 there. Not measured here.
"""

from pretraining import recipe


def get_config():
    return recipe(
        "gpt2_124m",
        sequence_length=1024,
        batch_size=480,
        accumulation=5,
        peak_lr=6e-4,
        steps=600_000,
        remat="none",
    )
